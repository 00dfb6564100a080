//! Checks that modules of a crate do not use each other in a circle.
//!
//! A module is compared with its siblings, each with everything below it. What a module and the
//! modules below it use of each other is not looked at: they are one unit to their siblings. The
//! folders of the server are rooms of one program, which use each other: there files are compared.

mod uses;

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::{SourceFile, Tree};
use uses::uses;

/// The CUDA side of `ops`: it and the operations use each other. What it uses does not count.
const CUDA: &str = "crates/ops/src/cuda";

/// The crate whose files are compared, not its folders.
const BY_FILE: &str = "server";

/// Names of modules from the root of the crate, which is empty itself.
type ModulePath = Vec<String>;

/// The modules of one crate with their files.
struct Crate<'a> {
    files: BTreeMap<ModulePath, &'a SourceFile>,
    /// For each module: the names that it imports, with their paths from the crate's root.
    imports: BTreeMap<ModulePath, Vec<(String, ModulePath)>>,
}

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let mut crates: BTreeMap<&str, BTreeMap<ModulePath, &SourceFile>> = BTreeMap::new();
    for file in tree.rust_files().filter(|file| !file.is_test()) {
        let folder = file.path.strip_prefix("crates/");
        let Some((name, path)) = folder.and_then(|path| path.split_once("/src/")) else {
            continue;
        };
        if path != "main.rs" && !file.path.starts_with(CUDA) {
            crates
                .entry(name)
                .or_default()
                .insert(module_path(path), file);
        }
    }
    for (name, files) in crates {
        Crate::new(files).check(name, findings);
    }
}

/// `a/b.rs` and `a/b/mod.rs` are the module `[a, b]`, `lib.rs` is the root.
fn module_path(path: &str) -> ModulePath {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    let parts = path.split('/').filter(|part| *part != "lib");
    parts.map(str::to_owned).collect()
}

impl<'a> Crate<'a> {
    fn new(files: BTreeMap<ModulePath, &'a SourceFile>) -> Self {
        let imports = files
            .iter()
            .map(|(module, file)| {
                let imported = uses(file)
                    .into_iter()
                    .filter_map(|(name, path)| Some((name, absolute(&files, module, &path)?)));
                (module.clone(), imported.collect())
            })
            .collect();
        Self { files, imports }
    }

    fn check(&self, name: &str, findings: &mut Vec<Finding>) {
        // By the parent of two siblings: which sibling uses which, with an example.
        let mut edges: BTreeMap<ModulePath, Edges> = BTreeMap::new();
        for (module, imports) in &self.imports {
            for (_, path) in imports {
                let used = self.definition(path, 0);
                let shared = module.iter().zip(&used).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (module.get(shared), used.get(shared)) {
                    let (parent, edge) = if name == BY_FILE {
                        (ModulePath::new(), (module.join("::"), used.join("::")))
                    } else {
                        (module[..shared].to_vec(), (from.clone(), to.clone()))
                    };
                    let example = format!("{} uses {}", module.join("::"), path.join("::"));
                    let siblings = edges.entry(parent).or_default();
                    siblings.entry(edge).or_insert(example);
                }
            }
        }
        for (parent, edges) in edges {
            for circle in circles(&edges) {
                let inside = |name: &String| circle.contains(name);
                let examples: Vec<_> = edges
                    .iter()
                    .filter(|((from, to), _)| inside(from) && inside(to))
                    .map(|(_, example)| example.as_str())
                    .collect();
                let message = format!("modules in a circle: {}", examples.join("; "));
                let place = self.files.get(&parent).map(|file| file.path.clone());
                let place = place.unwrap_or_else(|| format!("crates/{name}/src"));
                findings.push(Finding::error(&place, 0, message));
            }
        }
    }

    /// The module that defines what `path` names, through re-exports.
    fn definition(&self, path: &[String], depth: usize) -> ModulePath {
        /// Longer chains of re-exports are circles of their own.
        const MAX_DEPTH: usize = 16;
        let mut module = ModulePath::new();
        for (index, name) in path.iter().enumerate() {
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.files.contains_key(&child) {
                module = child;
                continue;
            }
            let imports = self.imports.get(&module).into_iter().flatten();
            let imported = imports
                .filter(|(imported, _)| imported == name)
                .map(|(_, to)| to);
            let target = imported
                .filter(|to| to.as_slice() != &path[..=index] && depth < MAX_DEPTH)
                .map(|to| [to.as_slice(), &path[index + 1..]].concat())
                .next();
            return target.map_or(module, |target| self.definition(&target, depth + 1));
        }
        module
    }
}

/// An imported path from the crate's root; `None` for paths into other crates.
fn absolute(
    files: &BTreeMap<ModulePath, &SourceFile>,
    module: &[String],
    path: &[String],
) -> Option<ModulePath> {
    let mut base = module.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while let [first, after @ ..] = rest
                && first == "super"
            {
                base.pop();
                rest = after;
            }
        }
        child => {
            let child = [module, &[child.to_owned()]].concat();
            files.get(&child)?;
        }
    }
    Some([base.as_slice(), rest].concat())
}

/// Which module uses which of its siblings, with an example.
type Edges = BTreeMap<(String, String), String>;

/// The groups of modules that reach each other.
fn circles(edges: &Edges) -> Vec<BTreeSet<String>> {
    let names: BTreeSet<&String> = edges.keys().flat_map(|(from, to)| [from, to]).collect();
    let reach: BTreeMap<&String, BTreeSet<&String>> = names
        .iter()
        .map(|name| (*name, reachable(edges, name)))
        .collect();
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for name in names {
        let circle: BTreeSet<String> = reach[name]
            .iter()
            .filter(|other| reach[**other].contains(name))
            .map(|other| (*other).clone())
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            circles.push(circle);
        }
    }
    circles
}

/// The modules that `start` uses, directly or through others.
fn reachable<'a>(edges: &'a Edges, start: &str) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(name) = open.pop() {
        for (from, to) in edges.keys() {
            if *from == name && found.insert(to) {
                open.push(to.clone());
            }
        }
    }
    found
}
