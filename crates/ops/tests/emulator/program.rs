//! Builds the programs that run kernels, with the host's C++ compiler, unless a program of the same
//! sources exists. The kernels are compiled with the address and the undefined-behaviour sanitizer.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

const FLAGS: [&str; 5] = [
    "-std=c++17",
    "-g",
    // In CUDA a pointer may be cast to a pointer to a vector of its element type.
    "-fno-strict-aliasing",
    "-Wall",
    "-Wno-unknown-pragmas",
];
/// The sanitizers of the kernels. The emulator is built without them, because they would only slow it
/// down.
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const EMULATOR: [&str; 3] = [
    "emulator/main.cpp",
    "emulator/block.cpp",
    "emulator/fiber.cpp",
];

/// The path of the program of `kernels/{kernel}.cu`. Builds the program if needed.
pub(super) fn program(kernel: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDING.lock();
    let builder = Builder {
        compiler: compiler(),
        kernels: Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernels"),
    };
    let mut objects = EMULATOR
        .map(|source| builder.object(source, &["-O2"]))
        .to_vec();
    let kernel = format!("{kernel}.cu");
    let object = builder.object(&kernel, &["-O1", SANITIZERS[0], SANITIZERS[1]]);
    let program = object.with_extension("run");
    objects.push(object);
    builder.build(&program, |command| {
        command.args(SANITIZERS).args(&objects);
    });
    program
}

struct Builder {
    compiler: String,
    kernels: PathBuf,
}

impl Builder {
    /// Compiles one source. Returns the path of the object file.
    fn object(&self, source: &str, flags: &[&str]) -> PathBuf {
        let name = source.replace(['/', '.'], "-");
        let fingerprint = self.fingerprint(source);
        let object =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{fingerprint:016x}.o"));
        self.build(&object, |command| {
            command.args(FLAGS).args(flags).args(["-x", "c++", "-c"]);
            command.arg(self.kernels.join(source));
        });
        object
    }

    /// Builds `target` under a temporary name and renames it when it is complete, because several test
    /// programs run concurrently.
    fn build(&self, target: &Path, arguments: impl Fn(&mut Command)) {
        if target.exists() {
            return;
        }
        let unfinished = target.with_extension(format!("{}.part", std::process::id()));
        let mut command = Command::new(&self.compiler);
        arguments(&mut command);
        let output = command.arg("-o").arg(&unfinished).output().unwrap();
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::rename(&unfinished, target).unwrap();
    }

    /// A hash of everything that an object depends on: its source, every header, the compiler and the
    /// flags.
    fn fingerprint(&self, source: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (FLAGS, SANITIZERS, &self.compiler).hash(&mut hasher);
        let entries = ["", "emulator"].into_iter().flat_map(|folder| {
            fs::read_dir(self.kernels.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().path())
        });
        let is_header =
            |path: &PathBuf| path.extension().is_some_and(|it| it == "h" || it == "cuh");
        let mut files: Vec<_> = entries.filter(is_header).collect();
        files.sort();
        files.push(self.kernels.join(source));
        for file in files {
            fs::read(file).unwrap().hash(&mut hasher);
        }
        hasher.finish()
    }
}

fn compiler() -> String {
    let chosen = std::env::var("CXX").ok();
    let known = ["c++", "g++", "clang++"].map(String::from);
    let runs = |compiler: &String| {
        let version = Command::new(compiler).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    let Some(compiler) = chosen.into_iter().chain(known).find(runs) else {
        panic!(
            "the tests of the kernels need a C++ compiler: install g++ (Debian: build-essential) \
             or clang++, or name one in CXX"
        );
    };
    compiler
}
