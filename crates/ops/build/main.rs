//! With the feature `cuda`, compiles `kernels/*.cu` and generates stand-ins for the CUDA libraries, so
//! that the program also starts on machines without CUDA.

mod arguments;
mod kernels;
mod toolkit;
mod trampolines;

use std::env;
use std::error::Error;
use std::path::PathBuf;

use toolkit::Toolkit;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    println!("cargo::rerun-if-changed=build");
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return Ok(());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let toolkit = Toolkit::find()?;
    kernels::compile(&toolkit, &out)?;
    trampolines::generate(&toolkit, &out)
}
