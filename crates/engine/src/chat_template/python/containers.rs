//! Methods of Python's lists. Those that change a list are refused, as in Hugging Face's environment.

use minijinja::value::from_args;
use minijinja::{Error, Value};

use super::failed;

/// The result of a method; `None` for one that is not here.
pub(super) fn list_method(
    list: &Value,
    method: &str,
    arguments: &[Value],
) -> Option<Result<Value, Error>> {
    match method {
        "index" => Some(index(list, arguments)),
        _ => None,
    }
}

fn index(list: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (item,): (&Value,) = from_args(arguments)?;
    for (index, known) in list.try_iter()?.checked().enumerate() {
        if known? == *item {
            return Ok(index.into());
        }
    }
    Err(failed(format!("{item:?} is not in the list")))
}
