//! CRC32C (Castagnoli), as in iSCSI (RFC 3720 section 12.1) and most logs on disk.

/// The polynomial 1EDC6F41, reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

/// The checksum of what gave `before` (nothing gives 0), followed by `bytes`.
pub(super) fn crc32c(bytes: &[u8], before: u32) -> u32 {
    let step = |sum: u32, byte: &u8| TABLE[usize::from(sum as u8 ^ byte)] ^ (sum >> 8);
    !bytes.iter().fold(!before, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_rfc_3720_come_out() {
        assert_eq!(crc32c(b"123456789", 0), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32], 0), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xff; 32], 0), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending, 0), 0x46DD_794E);
        assert_eq!(
            crc32c(&ascending[5..], crc32c(&ascending[..5], 0)),
            0x46DD_794E
        );
    }
}
