//! The server binary.

use clap::Parser as _;
use zkd::config::{Arguments, Config};
use zkd::{logging, start};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    logging::init();
    start::run(Config::load(&arguments)?)
}
