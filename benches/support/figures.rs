//! Figures: how many are asked for, what is told of many, and where they are kept.
#![allow(dead_code, reason = "each benchmark uses a part")]

use std::fs;

use boxlite_test_utils::home::workspace;
use serde_json::Value;

/// The number in an environment variable, or another one when there is none.
pub(crate) fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Sorts them.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

pub(crate) fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// Writes `bench-results/FILE`, and gives the text.
pub(crate) fn record(file: &str, results: &Value) -> String {
    let text = serde_json::to_string_pretty(results).expect("numbers serialise");
    let directory = workspace().join("bench-results");
    fs::create_dir_all(&directory).expect("bench-results can be made");
    fs::write(directory.join(file), format!("{text}\n")).expect("the results are written");
    text
}
