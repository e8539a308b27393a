//! As much of DER as is needed to walk through a certificate or a key.

/// What is left of a DER text.
#[derive(Clone, Copy)]
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The content of the element that comes next, if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.take_whole(tag).map(|(_, content)| content)
    }

    /// The same with the whole element before it.
    pub fn take_whole(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (header, rest) = self.0.split_at_checked(2)?;
        if header[0] != tag {
            return None;
        }
        let (len, len_of_len) = match header[1] {
            short @ 0..=0x7f => (usize::from(short), 0),
            long @ 0x81..=0x84 => {
                let bytes = rest.get(..usize::from(long & 0x7f))?;
                (bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), bytes.len())
            }
            // 0x80 is a length of BER, not of DER.
            _ => return None,
        };
        let content = rest.get(len_of_len..)?.get(..len)?;
        let (whole, rest) = self.0.split_at_checked(2 + len_of_len + len)?;
        self.0 = rest;
        Some((whole, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_taken_one_by_one() {
        let mut der = Der(&[0x30, 2, 1, 2, 4, 0x81, 1, 9, 5]);
        assert_eq!(der.take(0x31), None);
        assert_eq!(der.take(0x30), Some(&[1, 2][..]));
        assert_eq!(der.take_whole(4), Some((&[4, 0x81, 1, 9][..], &[9][..])));
        assert_eq!(der.take(5), None, "cut short");
        for cut in [&[0x30, 3, 1][..], &[0x30, 0x80], &[0x30, 0x84, 255, 255, 255, 255, 1], &[0x30, 0x82, 0]]
        {
            assert_eq!(Der(cut).take(0x30), None);
        }
    }
}
