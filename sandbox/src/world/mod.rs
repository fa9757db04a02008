//! What the simulated account holds, and what can happen in it. Nothing here knows HTTP.

pub mod account; // all of it, in the order in which it was made
pub mod webhook_endpoints; // where events go
pub mod scenarios; // what can happen: one table
mod oddities; // sessions as no shop would like them
pub mod sale; // a payment and what follows it
pub mod checkout; // who buys what for how much
mod catalog; // the buyers and the goods
