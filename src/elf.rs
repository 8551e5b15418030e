//! Reads the target processor from ELF headers (System V ABI, "ELF Header").

use crate::tables::PROCESSORS;

/// The first bytes of an ELF image.
pub const MAGIC: &[u8; 4] = b"\x7fELF";

/// `e_machine` of an ELF image that begins with `content`; `None` for any other kind of file.
pub fn machine(content: &[u8]) -> Option<u16> {
    let header = content.get(..20).filter(|header| header.starts_with(MAGIC))?;
    let bytes = [header[18], header[19]];
    match header[5] {
        1 => Some(u16::from_le_bytes(bytes)),
        2 => Some(u16::from_be_bytes(bytes)),
        _ => None,
    }
}

/// `e_machine` of a processor in `@platforms//cpu`.
pub fn machine_of(cpu: &str) -> Option<u16> {
    PROCESSORS.iter().find(|row| row.name == cpu).map(|row| row.machine)
}

/// Whether Linux runs on the processor. ELF images for other processors are data.
pub fn is_host(machine: u16) -> bool {
    PROCESSORS.iter().any(|row| row.machine == machine)
}

/// The name of a processor, for a message.
pub fn name(machine: u16) -> String {
    let row = PROCESSORS.iter().find(|row| row.machine == machine);
    row.map_or_else(|| format!("processor {machine} (ELF e_machine)"), |row| row.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_tell_their_machine() {
        let mut header = [0u8; 20];
        header[..4].copy_from_slice(MAGIC);
        header[5] = 1;
        header[18] = 62;
        assert_eq!(machine(&header), Some(62));
        header[5] = 2;
        assert_eq!(machine(&header), Some(62 << 8));
        header[5] = 0;
        assert_eq!(machine(&header), None);
        assert_eq!(machine(&header[..19]), None);
        assert_eq!(machine(b"#!/bin/sh and some more"), None);
    }

    #[test]
    fn processors_have_names() {
        assert_eq!((machine_of("x86_64"), machine_of("z80")), (Some(62), None));
        assert_eq!(name(183), "aarch64");
        assert_eq!(name(190), "processor 190 (ELF e_machine)");
        assert!(is_host(243) && !is_host(190));
    }
}
