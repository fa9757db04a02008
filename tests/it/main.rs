//! The real program, the real file, a simulated Stripe: what a shopkeeper could notice.

mod arrivals;
mod crashes;
mod settings;
mod shell;
mod shop;
mod stripe_fails;
mod verbs;
mod webhook;
