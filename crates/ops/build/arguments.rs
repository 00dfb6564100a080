//! Generates Rust structs for the kernels' parameters from the kernels' source. A missing or misplaced
//! argument, or one of the wrong type, is then a compile error.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use crate::Result;

/// Every entry point of every module, in the order of the modules.
#[derive(Default)]
pub(crate) struct EntryPoints {
    entries: Vec<Entry>,
    /// By kernel name. All entry points of a kernel have the same parameters.
    kernels: BTreeMap<String, Kernel>,
}

/// One compiled function, such as `rms_norm_bf16`.
struct Entry {
    module: usize,
    name: String,
    kernel: String,
    /// The 16-bit type of its variant, if any.
    element: Option<&'static str>,
    /// The head dimension of its variant, or 0.
    head_dim: u32,
}

#[derive(PartialEq)]
struct Kernel {
    threads: u32,
    parameters: Vec<Parameter>,
}

#[derive(PartialEq)]
struct Parameter {
    name: String,
    kind: &'static str,
}

impl EntryPoints {
    /// Reads the entry points of a `.cu` file.
    ///
    /// # Errors
    /// The preprocessor fails, or a declaration cannot be parsed.
    pub(crate) fn read(&mut self, module: usize, source: &Path) -> Result<()> {
        let text = preprocess(source)?;
        for declaration in text.split("extern \"C\" __global__ void").skip(1) {
            let declaration = &declaration[..declaration.find('{').unwrap_or(declaration.len())];
            let entry = self.entry(module, &text, declaration);
            let entry = entry.ok_or_else(|| format!("not understood: {declaration}"))?;
            self.entries.push(entry?);
        }
        Ok(())
    }

    /// Parses `__launch_bounds__(x::THREADS, 1) name(T* a, u32 b)`.
    fn entry(&mut self, module: usize, text: &str, declaration: &str) -> Option<Result<Entry>> {
        let rest = declaration.trim().strip_prefix("__launch_bounds__(")?;
        let (bounds, rest) = rest.split_once(')')?;
        let threads = bounds.split(',').next()?;
        let (name, parameters) = rest.trim().strip_suffix(')')?.split_once('(')?;
        let (kernel, element, head_dim) = variant(name);
        let parameters = parameters
            .split(',')
            .map(parameter)
            .collect::<Option<_>>()?;
        let described = Kernel {
            threads: constant(text, threads)?,
            parameters,
        };
        let entry = Entry {
            module,
            name: name.to_owned(),
            kernel: kernel.to_owned(),
            element,
            head_dim,
        };
        match self.kernels.get(kernel) {
            Some(known) if *known != described => {
                return Some(Err(format!("{name} differs from the other {kernel}").into()));
            }
            Some(_) => {}
            None => {
                self.kernels.insert(kernel.to_owned(), described);
            }
        }
        Some(Ok(entry))
    }

    /// The generated code: the list of functions and a struct for each kernel.
    pub(crate) fn rust(&self) -> Result<String> {
        let mut rust = "pub(crate) const FUNCTIONS: &[Function] = &[\n".to_owned();
        for entry in &self.entries {
            let element = match entry.element {
                Some(element) => format!("Some(DType::{element})"),
                None => "None".to_owned(),
            };
            writeln!(
                rust,
                "Function {{ module: {}, name: {:?}, kernel: {:?}, element: {element}, head_dim: {} }},",
                entry.module, entry.name, entry.kernel, entry.head_dim
            )?;
        }
        rust += "];\n";
        for (name, kernel) in &self.kernels {
            let fields: String = kernel
                .parameters
                .iter()
                .map(|it| format!("pub {}: {}, ", it.name, it.kind))
                .collect();
            let pointers: String = kernel
                .parameters
                .iter()
                .map(|it| format!("(&raw const self.{}).cast_mut().cast(), ", it.name))
                .collect();
            let count = kernel.parameters.len();
            writeln!(
                rust,
                "pub(crate) struct {} {{ {fields} }}
                impl Arguments for {0} {{
                    const KERNEL: &'static str = {name:?};
                    const THREADS: u32 = {};
                    type Pointers = [*mut c_void; {count}];
                    fn pointers(&self) -> Self::Pointers {{ [{pointers}] }}
                }}",
                camel_case(name),
                kernel.threads
            )?;
        }
        Ok(rust)
    }
}

/// The file's text with all macros expanded, as nvcc would see it.
fn preprocess(source: &Path) -> Result<String> {
    let mut command = Command::new("cc");
    command
        .args(["-E", "-P", "-xc++", "-D__CUDACC__"])
        .arg(source);
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Splits an entry point's name into kernel, type and head dimension:
/// `paged_attention_decode_bf16_128` is `paged_attention_decode` for bf16 and a head dimension of 128.
fn variant(name: &str) -> (&str, Option<&'static str>, u32) {
    let (rest, head_dim) = match name.rsplit_once('_') {
        Some((rest, number)) => match number.parse() {
            Ok(number) => (rest, number),
            Err(_) => (name, 0),
        },
        None => (name, 0),
    };
    for (suffix, element) in [("_bf16", "BF16"), ("_f16", "F16")] {
        if let Some(kernel) = rest.strip_suffix(suffix) {
            return (kernel, Some(element), head_dim);
        }
    }
    (name, None, 0)
}

/// Parses `const u32* name` or `float name`.
fn parameter(text: &str) -> Option<Parameter> {
    let text = text.trim();
    let (kind, name) = text.rsplit_once([' ', '*'])?;
    let kind = match kind.trim() {
        _ if text.contains('*') => "Address",
        "u32" => "u32",
        "u64" => "u64",
        "float" => "f32",
        _ => return None,
    };
    Some(Parameter {
        name: name.to_owned(),
        kind,
    })
}

/// The value of a number or of a constant, which may be in a namespace (`x::THREADS`).
fn constant(text: &str, expression: &str) -> Option<u32> {
    let expression = expression.trim();
    if let Ok(number) = expression.parse() {
        return Some(number);
    }
    let (namespace, name) = expression.split_once("::").unwrap_or(("", expression));
    let scope = match namespace {
        "" => text,
        _ => text.split_once(&format!("namespace {namespace} {{"))?.1,
    };
    let (_, value) = scope.split_once(&format!("constexpr u32 {name} = "))?;
    // The value may be a product of other constants.
    value
        .split(';')
        .next()?
        .split('*')
        .map(|factor| {
            let factor = factor.trim();
            let own = (!namespace.is_empty()).then(|| format!("{namespace}::{factor}"));
            own.and_then(|own| constant(text, &own))
                .or_else(|| constant(text, factor))
        })
        .product()
}

fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect()
}
