//! Loads the CUDA libraries when a device is opened, so that the program also runs on machines without
//! them. `build/trampolines.rs` generates the functions that call into them.

use std::env;
use std::error::Error as _;
use std::ffi::{CStr, c_void};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use candle_core::{Error, Result};

struct Library {
    file: &'static str,
    first_slot: usize,
    functions: &'static [&'static CStr],
}

const SLOTS: usize = include!(concat!(env!("OUT_DIR"), "/slots.rs"));

static LIBRARIES: &[Library] = &include!(concat!(env!("OUT_DIR"), "/libraries.rs"));

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    include_str!(concat!(env!("OUT_DIR"), "/trampolines.s")),
    options(att_syntax)
);
#[cfg(not(target_arch = "x86_64"))]
std::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/trampolines.s")));

unsafe extern "C" {
    /// The target of each function of each library.
    #[link_name = "farthing_cuda_slots"]
    static SLOT_TABLE: [AtomicPtr<c_void>; SLOTS];
}

/// Loads all libraries once. If that failed, later calls return the same error.
///
/// # Errors
/// A library is missing. The error names it and says which package contains it.
pub(super) fn load() -> Result<()> {
    static LOADED: OnceLock<std::result::Result<(), String>> = OnceLock::new();
    LOADED
        .get_or_init(|| LIBRARIES.iter().try_for_each(Library::load))
        .clone()
        .map_err(Error::msg)
}

impl Library {
    fn load(&self) -> std::result::Result<(), String> {
        let library = self.find()?;
        for (i, name) in self.functions.iter().enumerate() {
            // SAFETY: only the symbol's address is used.
            let function = unsafe { library.get::<*mut c_void>(name.to_bytes_with_nul()) };
            // Some names in the headers are not functions. Their slots keep the function that fails.
            if let Ok(function) = function {
                // SAFETY: the table has a slot for each function of each library.
                let slot = unsafe { &SLOT_TABLE[self.first_slot + i] };
                slot.store(*function, Ordering::Release);
            }
        }
        // The functions are used until the process ends.
        std::mem::forget(library);
        Ok(())
    }

    /// Searches the dynamic linker's paths, then the usual folders of CUDA toolkits.
    fn find(&self) -> std::result::Result<libloading::Library, String> {
        let folders = ["CUDA_HOME", "CUDA_PATH"]
            .iter()
            .filter_map(env::var_os)
            .map(PathBuf::from)
            .chain(["/usr/local/cuda".into(), "/opt/cuda".into()])
            .flat_map(|root| [root.join("lib64"), root.join("lib")]);
        let candidates = std::iter::once(PathBuf::from(self.file))
            .chain(folders.map(|folder| folder.join(self.file)));
        let mut why = None;
        for candidate in candidates {
            // SAFETY: NVIDIA's libraries may be loaded at any time.
            match unsafe { libloading::Library::new(&candidate) } {
                Ok(library) => return Ok(library),
                Err(error) => why = why.or(Some(error)),
            }
        }
        let why = why.map_or_else(String::new, |error| match error.source() {
            Some(source) => source.to_string(),
            None => error.to_string(),
        });
        Err(self.missing(&why))
    }

    fn missing(&self, why: &str) -> String {
        let from = match self.file.starts_with("libcuda.") {
            true => {
                "it comes with NVIDIA's driver, so this machine has no NVIDIA GPU or no driver for it"
            }
            false => {
                "it comes with the CUDA toolkit: name its folder in LD_LIBRARY_PATH or CUDA_HOME"
            }
        };
        format!("cannot load {}: {from} ({why})", self.file)
    }
}
