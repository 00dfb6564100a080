//! Stand-ins for the functions of CUDA's libraries.
//!
//! candle links to those libraries, and a program that is linked to a missing library does not start.
//! This crate therefore defines all of their functions itself. Each one jumps to the address in a slot,
//! so the linker does not need the libraries. `src/cuda/libraries.rs` fills the slots at run time. Until
//! then they point to a function that returns an error.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::toolkit::Toolkit;

/// A library. Libraries are loaded in order, each one after its dependencies.
struct Library {
    /// The dynamic linker's name of the library, without the version.
    name: &'static str,
    headers: &'static [&'static str],
    /// The prefix of its functions' names, and names to exclude.
    prefix: &'static str,
    not: &'static str,
    version: Version,
    /// The value that a function returns while the library is not loaded.
    missing: u32,
}

enum Version {
    Always(u32),
    Toolkit,
}

const LIBRARIES: [Library; 5] = [
    Library {
        name: "libcuda.so",
        headers: &["cuda.h"],
        prefix: "cu",
        not: "\0",
        version: Version::Always(1),
        missing: 303, // CUDA_ERROR_SHARED_OBJECT_INIT_FAILED
    },
    Library {
        name: "libnvrtc.so",
        headers: &["nvrtc.h"],
        prefix: "nvrtc",
        not: "\0",
        version: Version::Toolkit,
        missing: 11, // NVRTC_ERROR_INTERNAL_ERROR
    },
    Library {
        name: "libcurand.so",
        headers: &["curand.h"],
        prefix: "curand",
        not: "\0",
        version: Version::Always(10),
        missing: 203, // CURAND_STATUS_INITIALIZATION_FAILED
    },
    Library {
        name: "libcublasLt.so",
        headers: &["cublasLt.h"],
        prefix: "cublasLt",
        not: "\0",
        version: Version::Toolkit,
        missing: 1, // CUBLAS_STATUS_NOT_INITIALIZED
    },
    Library {
        name: "libcublas.so",
        headers: &["cublas_api.h", "cublas_v2.h"],
        prefix: "cublas",
        not: "cublasLt",
        version: Version::Toolkit,
        missing: 1, // CUBLAS_STATUS_NOT_INITIALIZED
    },
];

/// Writes `trampolines.s`, which contains the functions, and `libraries.rs`, the names of the slots.
pub(crate) fn generate(toolkit: &Toolkit, out: &Path) -> Result<()> {
    let jump = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => |slot: usize| format!("jmp *farthing_cuda_slots+{}(%rip)", 8 * slot),
        "aarch64" => |slot: usize| {
            format!(
                "adrp x16, farthing_cuda_slots+{0}\n ldr x16, [x16, :lo12:farthing_cuda_slots+{0}]\n br x16",
                8 * slot
            )
        },
        other => {
            return Err(format!("CUDA is built for x86_64 and aarch64, not for {other}").into());
        }
    };
    let error = match env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => |code: u32| format!("movl ${code}, %eax\n ret"),
        _ => |code: u32| format!("mov w0, #{code}\n ret"),
    };
    let major = toolkit_major(toolkit)?;
    let mut text = ".text\n".to_owned();
    let mut data =
        ".data\n.balign 8\n.globl farthing_cuda_slots\nfarthing_cuda_slots:\n".to_owned();
    let mut libraries = "[\n".to_owned();
    let mut slot = 0;
    for (i, library) in LIBRARIES.iter().enumerate() {
        let version = match library.version {
            Version::Always(version) => version,
            Version::Toolkit => major,
        };
        writeln!(
            text,
            "farthing_cuda_missing_{i}:\n {}",
            error(library.missing)
        )?;
        writeln!(
            libraries,
            "Library {{ file: \"{}.{version}\", first_slot: {slot}, functions: &[",
            library.name
        )?;
        for function in library.functions(toolkit)? {
            writeln!(
                text,
                ".globl {function}\n.type {function}, %function\n{function}:\n {}",
                jump(slot)
            )?;
            writeln!(data, ".quad farthing_cuda_missing_{i}")?;
            writeln!(libraries, "c\"{function}\",")?;
            slot += 1;
        }
        libraries += "] },\n";
    }
    libraries.push(']');
    fs::write(out.join("trampolines.s"), text + &data)?;
    fs::write(out.join("libraries.rs"), libraries)?;
    fs::write(out.join("slots.rs"), slot.to_string())?;

    // candle's GGUF kernels are launched through the CUDA runtime. The static runtime loads the driver
    // on first use.
    let runtime = toolkit.folder_of("libcudart_static.a")?;
    println!("cargo::rustc-link-search=native={}", runtime.display());
    println!("cargo::rustc-link-lib=static=cudart_static");
    Ok(())
}

fn toolkit_major(toolkit: &Toolkit) -> Result<u32> {
    let header = toolkit.header("cuda.h")?;
    let version = header
        .lines()
        .find_map(|line| line.strip_prefix("#define CUDA_VERSION "))
        .ok_or("cuda.h does not say its CUDA_VERSION")?;
    Ok(version.trim().parse::<u32>()? / 1000)
}

impl Library {
    /// Every name in the headers that may be a function. A stand-in for a name that is not one is
    /// harmless.
    fn functions(&self, toolkit: &Toolkit) -> Result<BTreeSet<String>> {
        let mut functions = BTreeSet::new();
        for header in self.headers {
            let text = toolkit.header(header)?;
            let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let named = words.filter(|word| {
                let rest = word.strip_prefix(self.prefix);
                rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
                    && !word.starts_with(self.not)
            });
            functions.extend(named.map(str::to_owned));
        }
        Ok(functions)
    }
}
