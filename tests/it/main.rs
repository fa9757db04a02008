//! The real program, the real file, a simulated Stripe: what a shopkeeper could notice.

mod shop;
mod verbs; // the command line
