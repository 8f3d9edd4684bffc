//! The wire format: tags, varints, lengths.

use super::super::CodecError;

/// One value of a message.
#[derive(Clone, Copy, Debug)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
}

fn broken(what: &str) -> CodecError {
    CodecError::Proto(format!("proto: {what}"))
}

impl<'a> Wire<'a> {
    pub fn bytes(self) -> Result<&'a [u8], CodecError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(broken("wrong wireType for a length-delimited field")),
        }
    }

    pub fn text(self) -> Result<&'a str, CodecError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken("invalid UTF-8 in a string"))
    }

    pub fn varint(self) -> Result<u64, CodecError> {
        match self {
            Self::Varint(number) => Ok(number),
            _ => Err(broken("wrong wireType for a varint field")),
        }
    }

    pub fn double(self) -> Result<f64, CodecError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(broken("wrong wireType for a double field")),
        }
    }
}

/// Reads a message's fields one after the other.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn varint(&mut self) -> Result<u64, CodecError> {
        let mut number = 0u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f).checked_shl(7 * at as u32).unwrap_or(0);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(broken(if self.rest.len() < 10 { "unexpected EOF" } else { "integer overflow" }))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CodecError> {
        let (head, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| broken("unexpected EOF"))?;
        self.rest = rest;
        Ok(head)
    }

    pub fn field(&mut self) -> Result<Option<(u32, Wire<'a>)>, CodecError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 {
            return Err(broken("illegal tag"));
        }
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let mut bits = [0; 8];
                bits.copy_from_slice(self.take(8)?);
                Wire::Fixed64(u64::from_le_bytes(bits))
            }
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| broken("negative length"))?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(broken("illegal wireType")),
        };
        Ok(Some((number, value)))
    }
}

pub fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u64) {
    varint(out, (u64::from(number) << 3) | wire);
}

pub fn integer(out: &mut Vec<u8>, number: u32, value: i64) {
    tag(out, number, 0);
    varint(out, value as u64);
}

pub fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    tag(out, number, 1);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    tag(out, number, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub fn text(out: &mut Vec<u8>, number: u32, value: &str) {
    bytes(out, number, value.as_bytes());
}

/// A message inside a message: its length is written once it is known.
pub fn nested(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    tag(out, number, 2);
    // Most messages are short: one byte is set aside, longer lengths move the message.
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(10);
    varint(&mut prefix, length as u64);
    let extra = prefix.len() - 1;
    out.resize(out.len() + extra, 0);
    out.copy_within(at + 1..at + 1 + length, at + 1 + extra);
    out[at..=at + extra].copy_from_slice(&prefix);
    Ok(())
}
