//! The real program, the real file, a simulated Stripe: what a shopkeeper could notice.

mod arrivals;
mod crashes;
mod outside; // other people's programs, and a client that sends exactly what it is told
mod proxies;
mod sdks;
mod settings;
mod shell;
mod shells;
mod shop;
mod stripe_fails;
mod units;
mod verbs;
mod webhook;
