//! The codec from outside: against bytes known from real clients and servers, against itself, and against garbage.

mod arbitrary;
mod hostile_bytes;
mod known_bytes;
mod round_trips;
