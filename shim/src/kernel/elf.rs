//! The PVH side of a kernel: finds the entry note in a raw image, and writes the ELF header QEMU's `-kernel` reads.
//!
//! Pure functions on bytes; never touches a file.

/// A kernel image as libkrunfw hands it out.
pub(super) struct KernelImage<'a> {
    pub(super) image: &'a [u8],
    /// Guest-physical address of the image's first byte.
    pub(super) load_address: u64,
    /// The 64-bit entry point.
    pub(super) entry: u64,
}

/// `XEN_ELFNOTE_PHYS32_ENTRY`: the 32-bit entry point of a PVH boot.
const PHYS32_ENTRY: u32 = 18;
const XEN: &[u8; 4] = b"Xen\0";
/// No kernel of this kind keeps its notes further in; bounds the scan of a strange image.
const SCAN_LIMIT: usize = 64 << 20;
/// Where the image starts in the file: past the headers, on a page of its own.
const IMAGE_OFFSET: usize = 0x1000;
const ELF_HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
const NOTE_BYTES: usize = 20;

/// The PVH entry point named by the image's Xen note, if it lies inside the image.
pub(super) fn pvh_entry(image: &[u8], load_address: u64) -> Option<u32> {
    let end = load_address.checked_add(image.len() as u64)?;
    let (words, _) = image[..image.len().min(SCAN_LIMIT)].as_chunks::<4>();
    let word = |index: usize| words.get(index).copied().map(u32::from_le_bytes);
    (0..words.len()).find_map(|at| {
        let is_note =
            word(at) == Some(4) && word(at + 2) == Some(PHYS32_ENTRY) && words.get(at + 3) == Some(XEN);
        if !is_note {
            return None;
        }
        // A kernel writes the address with 4 or 8 bytes; PVH enters in 32-bit mode, so the upper half is zero.
        let entry = match word(at + 1)? {
            4 => word(at + 4)?,
            8 if word(at + 5)? == 0 => word(at + 4)?,
            _ => return None,
        };
        (load_address..end).contains(&u64::from(entry)).then_some(entry)
    })
}

/// All of the kernel file that precedes the image: ELF header, one PT_LOAD, one PT_NOTE, padding.
pub(super) fn wrap_header(kernel: &KernelImage<'_>, pvh_entry: u32) -> Vec<u8> {
    const PT_LOAD: u32 = 1;
    const PT_NOTE: u32 = 4;
    const READ: u32 = 4;
    const READ_WRITE_EXECUTE: u32 = 7;
    let note_offset = ELF_HEADER_BYTES + 2 * PROGRAM_HEADER_BYTES;
    let image_bytes = kernel.image.len() as u64;

    let mut header = Vec::with_capacity(IMAGE_OFFSET);
    header.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put16(&mut header, &[2, 62]); // ET_EXEC, EM_X86_64
    put32(&mut header, &[1]); // version
    put64(&mut header, &[kernel.entry, ELF_HEADER_BYTES as u64, 0]); // entry, program headers, no sections
    put32(&mut header, &[0]); // flags
    put16(&mut header, &[ELF_HEADER_BYTES as u16, PROGRAM_HEADER_BYTES as u16, 2, 0, 0, 0]);

    put32(&mut header, &[PT_LOAD, READ_WRITE_EXECUTE]);
    put64(&mut header, &[IMAGE_OFFSET as u64, kernel.load_address, kernel.load_address]);
    put64(&mut header, &[image_bytes, image_bytes, 0x1000]);

    put32(&mut header, &[PT_NOTE, READ]);
    put64(&mut header, &[note_offset as u64, 0, 0, NOTE_BYTES as u64, NOTE_BYTES as u64, 4]);

    put32(&mut header, &[4, 4, PHYS32_ENTRY]); // name size, description size, type
    header.extend_from_slice(XEN);
    put32(&mut header, &[pvh_entry]);

    header.resize(IMAGE_OFFSET, 0);
    header
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, values: &[u64]) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}
