//! Objects as they are, in the way that kubectl prints them.

use serde::Serialize;
use serde_json::{Value, json};

/// JSON: the object where one was named, else a list.
pub fn json<K: Serialize>(objects: &[K], named: bool) -> Result<String, String> {
    let text = serde_json::to_string_pretty(&value(objects, named)?);
    text.map(|text| text + "\n").map_err(|error| error.to_string())
}

/// YAML: the object where one was named, else a list.
pub fn yaml<K: Serialize>(objects: &[K], named: bool) -> Result<String, String> {
    serde_saphyr::to_string(&value(objects, named)?).map_err(|error| error.to_string())
}

fn value<K: Serialize>(objects: &[K], named: bool) -> Result<Value, String> {
    let items = serde_json::to_value(objects).map_err(|error| error.to_string())?;
    Ok(match items {
        Value::Array(mut items) if named && items.len() == 1 => items.remove(0),
        items => json!({"apiVersion": "v1", "kind": "List", "items": items}),
    })
}
