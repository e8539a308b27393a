//! One situation, one decision: the rules that a reader looks up, each as a row.

mod membership;
mod restore;
mod situation;
mod update;
