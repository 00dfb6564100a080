//! Turns seconds and prices into money.
