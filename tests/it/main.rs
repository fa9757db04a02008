//! The real program, run as its users run it.

mod verbs; // the command line
