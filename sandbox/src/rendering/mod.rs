//! What the account holds, as Stripe writes it: its objects, its events, its JSON.

pub mod event; // snapshots and thin events
pub mod webhook_endpoint; // where they go
pub mod session; // a checkout's objects
pub mod payment; // a payment's objects, and what follows it
pub mod json; // how Stripe lays JSON out
