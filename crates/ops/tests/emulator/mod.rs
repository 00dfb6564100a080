//! Runs the kernels of `kernels/*.cu` on the CPU. Each launch runs a program that consists of the
//! kernels of one file and `kernels/emulator`.
#![allow(
    dead_code,
    reason = "each test file is a crate of its own and uses a part of this"
)]

mod program;

use std::io::Write;
use std::process::{Command, Stdio};

use half::{bf16, f16};

use program::program;

/// One launch of an entry point.
pub(crate) struct Launch {
    kernel: &'static str,
    entry: String,
    grid: [usize; 3],
    threads: usize,
    shared_bytes: usize,
    arguments: Vec<Argument>,
}

enum Argument {
    Number([u8; 4]),
    Memory(Vec<u8>),
    Null,
}

/// The memory after a launch.
pub(crate) struct Memory {
    /// The memory arguments, in order.
    arguments: Vec<Vec<u8>>,
    /// The largest number of atomic updates of one address by one block.
    pub(crate) hottest_updates: u32,
}

impl Launch {
    /// A launch of the entry point `entry` of `kernels/{kernel}.cu` with one block.
    pub(crate) fn new(kernel: &'static str, entry: impl Into<String>, threads: usize) -> Self {
        Self {
            kernel,
            entry: entry.into(),
            grid: [1, 1, 1],
            threads,
            shared_bytes: 0,
            arguments: Vec::new(),
        }
    }

    pub(crate) fn grid(mut self, x: usize, y: usize, z: usize) -> Self {
        self.grid = [x, y, z];
        self
    }

    pub(crate) fn shared_bytes(mut self, bytes: usize) -> Self {
        self.shared_bytes = bytes;
        self
    }

    pub(crate) fn u32(mut self, number: usize) -> Self {
        let number = u32::try_from(number).unwrap();
        self.arguments.push(Argument::Number(number.to_le_bytes()));
        self
    }

    pub(crate) fn f32(mut self, number: f32) -> Self {
        self.arguments.push(Argument::Number(number.to_le_bytes()));
        self
    }

    pub(crate) fn memory<E: Element>(mut self, elements: &[E]) -> Self {
        let bytes = elements.iter().flat_map(|e| e.to_bytes()).collect();
        self.arguments.push(Argument::Memory(bytes));
        self
    }

    pub(crate) fn bytes(mut self, bytes: Vec<u8>) -> Self {
        self.arguments.push(Argument::Memory(bytes));
        self
    }

    pub(crate) fn null(mut self) -> Self {
        self.arguments.push(Argument::Null);
        self
    }

    /// Runs the launch. The seed determines the order of the threads.
    pub(crate) fn run(&self) -> Memory {
        let mut input = Vec::new();
        let mut push = |number: usize| input.extend((number as u32).to_le_bytes());
        push(self.entry.len());
        input.extend(self.entry.as_bytes());
        let mut push = |number: usize| input.extend((number as u32).to_le_bytes());
        let [x, y, z] = self.grid;
        const SEED: usize = 20_090;
        for number in [x, y, z, self.threads, self.shared_bytes, SEED] {
            push(number);
        }
        push(self.arguments.len());
        for argument in &self.arguments {
            let (kind, bytes): (u32, &[u8]) = match argument {
                Argument::Number(bytes) => (0, bytes),
                Argument::Memory(bytes) => (1, bytes),
                Argument::Null => (2, &[]),
            };
            input.extend(kind.to_le_bytes());
            input.extend((bytes.len() as u32).to_le_bytes());
            input.extend(bytes);
        }

        let mut child = Command::new(program(self.kernel))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that fails early does not read all of its input, so this error is ignored.
        let _ = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}: {}",
            self.entry,
            String::from_utf8_lossy(&output.stderr)
        );
        let mut rest = output.stdout.as_slice();
        let memories = self.arguments.iter().filter_map(|argument| match argument {
            Argument::Memory(bytes) => {
                let (own, more) = rest.split_at(bytes.len());
                rest = more;
                Some(own.to_vec())
            }
            _ => None,
        });
        Memory {
            arguments: memories.collect(),
            hottest_updates: u32::from_le_bytes(rest.try_into().unwrap()),
        }
    }
}

impl Memory {
    /// The elements of the memory argument `index`. The index does not count number arguments.
    pub(crate) fn get<E: Element>(&self, index: usize) -> Vec<E> {
        let bytes = self.arguments[index].chunks_exact(size_of::<E>());
        bytes.map(E::from_bytes).collect()
    }
}

/// The type of an element in device memory.
pub(crate) trait Element: Copy {
    fn to_bytes(self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! element {
    ($($type:ty),*) => {$(
        impl Element for $type {
            fn to_bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap())
            }
        }
    )*};
}

element!(u32, i32, f32, bf16, f16);

/// A 16-bit type of activations, weights, keys and values.
pub(crate) trait Half: Element {
    /// The suffix of the entry points' names.
    const NAME: &str;
    /// The maximum relative rounding error: half the distance from 1 to the next number.
    const ROUNDING: f64;
    const NAN: Self;

    fn from_f32(x: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Half for bf16 {
    const NAME: &str = "bf16";
    const ROUNDING: f64 = 1.0 / 256.0;
    const NAN: Self = Self::NAN;

    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }

    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

impl Half for f16 {
    const NAME: &str = "f16";
    const ROUNDING: f64 = 1.0 / 2048.0;
    const NAN: Self = Self::NAN;

    fn from_f32(x: f32) -> Self {
        Self::from_f32(x)
    }

    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

pub(crate) fn halves<T: Half>(values: &[f32]) -> Vec<T> {
    values.iter().map(|x| T::from_f32(*x)).collect()
}

pub(crate) fn floats<T: Half>(values: &[T]) -> Vec<f32> {
    values.iter().map(|x| x.to_f32()).collect()
}

/// Asserts that every value is still the initial NaN.
pub(crate) fn assert_untouched<T: Half>(values: &[T], what: &str) {
    assert!(values.iter().all(|x| x.to_f32().is_nan()), "{what}");
}
