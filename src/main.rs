//! fulfilld: the order desk for a shop on Stripe Checkout. This page is the map of the house.
//!
//! The modules stand in reading order, the door first and the foundations last, and imports point down this page: a room
//! may use the rooms below it and none above. A test at the end keeps that true.

mod sandbox;

mod door;

mod clock;
mod error;

fn main() {}
