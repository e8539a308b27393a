//! Clients as their users have them, in Rust, Python and Java, against three members that restart one after another.
//!
//! Needs no cluster, but kazoo, Maven and a JDK; what is missing is installed.

mod command_line;
mod examples;
mod group;
mod programs;
mod recipes;
