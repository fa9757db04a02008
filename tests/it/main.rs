//! One test binary that runs the real program.

mod outside; // other people's programs: where they are, and the daemon that they meet
mod proxies;
mod sdks;
mod shells;
mod units;
