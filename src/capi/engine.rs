//! The engines by the numbers that C knows them by.
//!
//! Owns the numbers. The options that take them are the runtime's and the box's.

use super::argument::refused;
use crate::errors::BoxliteResult;
use crate::model::options::Engine;

/// libkrun where KVM runs guests at hardware speed, else QEMU with software emulation (the default).
///
/// @ingroup engine
pub const BOXLITE_ENGINE_AUTO: i32 = 0;
/// libkrun, or an error that says why it cannot run.
///
/// @ingroup engine
pub const BOXLITE_ENGINE_KRUN: i32 = 1;
/// QEMU, on KVM where that can be used.
///
/// @ingroup engine
pub const BOXLITE_ENGINE_QEMU: i32 = 2;

/// The engine with this number.
pub(super) fn engine_of(number: i32) -> BoxliteResult<Engine> {
    match number {
        BOXLITE_ENGINE_AUTO => Ok(Engine::Auto),
        BOXLITE_ENGINE_KRUN => Ok(Engine::Krun),
        BOXLITE_ENGINE_QEMU => Ok(Engine::Qemu),
        _ => Err(refused(
            "engine",
            format!("is no engine: {number}"),
            "pass one of the BOXLITE_ENGINE_ constants",
        )),
    }
}
