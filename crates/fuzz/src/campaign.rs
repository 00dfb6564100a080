//! Runs inputs.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime};

use crate::Random;
use crate::limits::{Watch, peak_bytes};

/// Many inputs for one target.
pub struct Campaign {
    name: &'static str,
    inputs: u64,
}

impl Campaign {
    /// A campaign of `inputs` inputs, which `cargo test` runs within seconds.
    pub fn new(name: &'static str, inputs: u64) -> Self {
        Self { name, inputs }
    }

    /// Makes inputs with `next` and passes each to `check`, which panics if something is wrong.
    pub fn run(&self, mut next: impl FnMut(&mut Random) -> Vec<u8>, mut check: impl FnMut(&[u8])) {
        if let Some(path) = env::var_os("FARTHING_FUZZ_INPUT") {
            check(&fs::read(path).unwrap());
            return;
        }
        let seconds = env::var("FARTHING_FUZZ_SECONDS").ok();
        let seconds = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
        let mut hasher = DefaultHasher::new();
        self.name.hash(&mut hasher);
        if seconds.is_some() {
            SystemTime::now().hash(&mut hasher);
        }
        let mut random = Random::new(hasher.finish());
        let watch = seconds.map(|_| Watch::start());

        let kept = env::temp_dir().join(format!(
            "farthing-fuzz-{}-{}",
            self.name,
            std::process::id()
        ));
        let (began, mut inputs, mut slowest) = (Instant::now(), 0, Duration::ZERO);
        while match seconds {
            Some(seconds) => began.elapsed() < seconds,
            None => inputs < self.inputs,
        } {
            let input = next(&mut random);
            fs::write(&kept, &input).unwrap();
            if let Some(watch) = &watch {
                watch.next_input();
            }
            let input_began = Instant::now();
            let running = Running(&kept);
            check(&input);
            std::mem::forget(running);
            slowest = slowest.max(input_began.elapsed());
            inputs += 1;
        }
        let _ = fs::remove_file(&kept);
        let peak_mib = peak_bytes().map_or(0, |bytes| bytes >> 20);
        eprintln!(
            "{}: {inputs} inputs in {:.0} s, the slowest {:.3} s; at most {peak_mib} MiB of memory",
            self.name,
            began.elapsed().as_secs_f64(),
            slowest.as_secs_f64()
        );
    }
}

/// Names the file of the input that panics.
struct Running<'a>(&'a std::path::Path);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        eprintln!("the input is in {}", self.0.display());
    }
}
