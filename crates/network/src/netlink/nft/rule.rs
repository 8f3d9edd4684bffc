//! A rule as the list of expressions that the kernel runs, built left to right.
//!
//! Registers are the 16 four-byte ones; a concatenated key takes consecutive registers. Not here:
//! transactions.

use super::super::Writer;
use super::{DATA_VALUE, Family, LIST_ELEM, Verdict};

const LOCAL: u32 = 2;

/// A four-byte register, 0 to 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(pub u8);

impl Reg {
    fn number(self) -> u32 {
        8 + u32::from(self.0)
    }

    /// The register `n` further on.
    pub fn plus(self, n: u8) -> Self {
        Self(self.0 + n)
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Eq = 0,
    Ne = 1,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// ICMP port unreachable.
    PortUnreachable,
    /// TCP reset.
    Reset,
}

/// A rule under construction.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    w: Vec<u8>,
}

impl Rule {
    /// A rule that matches everything and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.w
    }

    fn expr(mut self, name: &str, body: impl FnOnce(&mut Writer)) -> Self {
        let mut w = Writer::new();
        w.nest(LIST_ELEM, |w| {
            w.attr_str(1, name);
            w.nest(2, body);
        });
        self.w.extend_from_slice(w.bytes());
        self
    }

    fn payload(self, base: u32, offset: u32, len: u32, to: Reg) -> Self {
        self.expr("payload", |w| {
            w.attr_be32(1, to.number());
            w.attr_be32(2, base);
            w.attr_be32(3, offset);
            w.attr_be32(4, len);
        })
    }

    /// Loads the source address.
    pub fn load_saddr(self, family: Family, to: Reg) -> Self {
        match family {
            Family::V4 => self.payload(1, 12, 4, to),
            Family::V6 => self.payload(1, 8, 16, to),
        }
    }

    /// Loads the destination address.
    pub fn load_daddr(self, family: Family, to: Reg) -> Self {
        match family {
            Family::V4 => self.payload(1, 16, 4, to),
            Family::V6 => self.payload(1, 24, 16, to),
        }
    }

    /// Loads the destination port.
    pub fn load_dport(self, to: Reg) -> Self {
        self.payload(2, 2, 2, to)
    }

    fn meta(self, key: u32, to: Reg) -> Self {
        self.expr("meta", |w| {
            w.attr_be32(1, to.number());
            w.attr_be32(2, key);
        })
    }

    /// Loads the transport protocol.
    pub fn load_protocol(self, to: Reg) -> Self {
        self.meta(16, to)
    }

    /// Compares a register.
    pub fn compare(self, register: Reg, op: Op, data: &[u8]) -> Self {
        self.expr("cmp", |w| {
            w.attr_be32(1, register.number());
            w.attr_be32(2, op as u32);
            w.nest(3, |w| w.attr(DATA_VALUE, data));
        })
    }

    /// `register = (register & mask) ^ xor`
    pub fn bitwise(self, register: Reg, mask: &[u8], xor: &[u8]) -> Self {
        self.expr("bitwise", |w| {
            w.attr_be32(1, register.number());
            w.attr_be32(2, register.number());
            w.attr_be32(3, u32::try_from(mask.len()).unwrap_or(0));
            w.nest(4, |w| w.attr(DATA_VALUE, mask));
            w.nest(5, |w| w.attr(DATA_VALUE, xor));
        })
    }

    /// Matches where the address in a register is (not) in a network.
    pub fn in_network(self, register: Reg, op: Op, network: &[u8], prefix: u8) -> Self {
        let mut mask = vec![0u8; network.len()];
        for bit in 0..usize::from(prefix).min(network.len() * 8) {
            mask[bit / 8] |= 0x80 >> (bit % 8);
        }
        let zero = vec![0u8; network.len()];
        let masked: Vec<u8> = network.iter().zip(&mask).map(|(n, m)| n & m).collect();
        self.bitwise(register, &mask, &zero).compare(register, op, &masked)
    }

    /// Matches where the key from a register on is in a set.
    pub fn in_set(self, set: &str, key: Reg) -> Self {
        self.expr("lookup", |w| {
            w.attr_str(1, set);
            w.attr_be32(2, key.number());
        })
    }

    /// Loads a map's data; does not match where the key is missing.
    pub fn look_up(self, map: &str, key: Reg, to: Reg) -> Self {
        self.expr("lookup", |w| {
            w.attr_str(1, map);
            w.attr_be32(2, key.number());
            w.attr_be32(3, to.number());
        })
    }

    /// Takes a verdict from a map; goes on where the key is missing.
    pub fn verdict_map(self, map: &str, key: Reg) -> Self {
        self.expr("lookup", |w| {
            w.attr_str(1, map);
            w.attr_be32(2, key.number());
            w.attr_be32(3, 0);
        })
    }

    /// Decides.
    pub fn verdict(self, verdict: &Verdict) -> Self {
        self.expr("immediate", |w| {
            w.attr_be32(1, 0);
            w.nest(2, |w| verdict.write(w));
        })
    }

    /// Matches the first packet of a connection.
    pub fn new_connection(self) -> Self {
        const NEW: u32 = 8;
        const STATE: u32 = 0;
        let scratch = Reg(0);
        self.connection(STATE, false, scratch)
            .bitwise(scratch, &NEW.to_ne_bytes(), &[0; 4])
            .compare(scratch, Op::Ne, &[0; 4])
    }

    /// Matches connections whose destination was rewritten.
    pub fn rewritten(self) -> Self {
        const STATUS: u32 = 2;
        const DNAT: u32 = 1 << 5;
        let scratch = Reg(0);
        self.connection(STATUS, false, scratch)
            .bitwise(scratch, &DNAT.to_ne_bytes(), &[0; 4])
            .compare(scratch, Op::Ne, &[0; 4])
    }

    fn connection(self, key: u32, original: bool, to: Reg) -> Self {
        self.expr("ct", |w| {
            w.attr_be32(1, to.number());
            w.attr_be32(2, key);
            if original {
                w.attr(3, &[0]);
            }
        })
    }

    /// Loads the destination address that the connection's first packet came with.
    pub fn load_original_daddr(self, family: Family, to: Reg) -> Self {
        let key = match family {
            Family::V4 => 20,
            Family::V6 => 22,
        };
        self.connection(key, true, to)
    }

    /// Loads the destination port that the connection's first packet came with.
    pub fn load_original_dport(self, to: Reg) -> Self {
        self.connection(12, true, to)
    }

    fn address_type(self, flag: u32, op: Op) -> Self {
        const ADDRESS_TYPE: u32 = 3;
        let scratch = Reg(0);
        self.expr("fib", |w| {
            w.attr_be32(1, scratch.number());
            w.attr_be32(2, ADDRESS_TYPE);
            w.attr_be32(3, flag);
        })
        .compare(scratch, op, &LOCAL.to_ne_bytes())
    }

    /// Matches where the destination is (not) an address of this machine.
    pub fn daddr_local(self, op: Op) -> Self {
        self.address_type(2, op)
    }

    /// Matches where the source is (not) an address of this machine.
    pub fn saddr_local(self, op: Op) -> Self {
        self.address_type(1, op)
    }

    /// Sets bits of the packet mark.
    pub fn set_mark_bits(self, bits: u32) -> Self {
        const MARK: u32 = 3;
        let scratch = Reg(0);
        self.meta(MARK, scratch).bitwise(scratch, &(!bits).to_ne_bytes(), &bits.to_ne_bytes()).expr(
            "meta",
            |w| {
                w.attr_be32(2, MARK);
                w.attr_be32(3, scratch.number());
            },
        )
    }

    /// Matches where all the bits of the packet mark are set, and clears them.
    pub fn take_mark_bits(self, bits: u32) -> Self {
        const MARK: u32 = 3;
        let scratch = Reg(0);
        self.meta(MARK, scratch)
            .bitwise(scratch, &bits.to_ne_bytes(), &[0; 4])
            .compare(scratch, Op::Eq, &bits.to_ne_bytes())
            .meta(MARK, scratch)
            .bitwise(scratch, &(!bits).to_ne_bytes(), &[0; 4])
            .expr("meta", |w| {
                w.attr_be32(2, MARK);
                w.attr_be32(3, scratch.number());
            })
    }

    /// Loads a random number of the `modulus` numbers from `first` on.
    pub fn random(self, modulus: u32, first: u32, to: Reg) -> Self {
        self.expr("numgen", |w| {
            w.attr_be32(1, to.number());
            w.attr_be32(2, modulus);
            w.attr_be32(3, 1);
            w.attr_be32(4, first);
        })
    }

    /// Adds an element to a dynamic map, or gives the one there a new timeout (its data stays).
    pub fn update(self, map: &str, key: Reg, data: Reg, timeout: std::time::Duration) -> Self {
        const UPDATE: u32 = 1;
        self.expr("dynset", |w| {
            w.attr_str(1, map);
            w.attr_be32(3, UPDATE);
            w.attr_be32(4, key.number());
            w.attr_be32(5, data.number());
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            w.attr(6, &millis.to_be_bytes());
        })
    }

    /// Rewrites the destination to the address and port in registers.
    pub fn dnat(self, family: Family, address: Reg, port: Reg) -> Self {
        self.expr("nat", |w| {
            w.attr_be32(1, 1);
            w.attr_be32(2, u32::from(family.number()));
            w.attr_be32(3, address.number());
            w.attr_be32(5, port.number());
        })
    }

    /// Rewrites the source to the address of the interface it leaves by, on any free port.
    pub fn masquerade(self) -> Self {
        const FULLY_RANDOM: u32 = 16;
        self.expr("masq", |w| w.attr_be32(1, FULLY_RANDOM))
    }

    /// Refuses the packet and tells its sender.
    pub fn reject(self, how: Reject) -> Self {
        self.expr("reject", |w| match how {
            Reject::PortUnreachable => {
                w.attr_be32(1, 0);
                // ICMP code 3: port unreachable.
                w.attr(2, &[3]);
            }
            Reject::Reset => {
                w.attr_be32(1, 1);
                w.attr(2, &[0]);
            }
        })
    }

    /// Counts packets and bytes.
    pub fn counter(self) -> Self {
        self.expr("counter", |_| {})
    }
}
