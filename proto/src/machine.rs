//! What QEMU's machine is made of, as far as its guest finds out while it boots.
//!
//! Owns the words of the command line that shape a template. They lie here since the build id, and with it every
//! template's key, covers this crate: a machine that has booted with others is never taken for one of these.

/// No PCI, ACPI, firmware menus or serial port: each costs time under emulation.
pub const MACHINE: &str = "microvm,x-option-roms=off,rtc=on,acpi=off,pit=on,pic=on,isa-serial=off";

/// The CPU under emulation, without virtualisation inside: no box needs it, and it is much to get wrong. Nor does it
/// claim that copying byte by byte is fast (`erms`, `fsrm`): a real CPU moves whole lines then, and this one really
/// goes byte by byte, in the kernel's copies from and to programs and in libc's; without the claim both use words.
pub const EMULATED_CPU: &str = "max,-svm,-erms,-fsrm";

/// The CPU on KVM.
pub const KVM_CPU: &str = "host,-svm,-vmx";
