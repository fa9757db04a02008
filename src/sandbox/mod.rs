//! A simulated Stripe on loopback, for first runs, development and tests.
