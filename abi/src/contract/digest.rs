//! SipHash-2-4 under the key 0, in `const`.
//!
//! Digests are compared by those who trust each other's build, so that nobody has to forge one: what is asked of the
//! hash is that texts which differ in a byte or two share no digest more often than chance has it. SipHash is a
//! pseudo-random function with published vectors, short enough for a constant evaluator, and the standard library has
//! one to hold it to.

/// A digest in the making.
#[derive(Clone, Copy)]
pub(super) struct SipHash {
    state: [u64; 4],
    /// Bytes that do not fill a word yet, lowest first.
    tail: u64,
    length: u64,
}

impl SipHash {
    pub(super) const fn new() -> Self {
        // "somepseudorandomlygeneratedbytes", as the authors have it.
        let state = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
        Self { state, tail: 0, length: 0 }
    }

    pub(super) const fn byte(&mut self, byte: u8) {
        self.tail |= (byte as u64) << (8 * (self.length % 8));
        self.length += 1;
        if self.length.is_multiple_of(8) {
            self.word(self.tail);
            self.tail = 0;
        }
    }

    pub(super) const fn finish(mut self) -> u64 {
        self.word(self.tail | self.length << 56);
        self.state[2] ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.round();
        self.state[0] ^ self.state[1] ^ self.state[2] ^ self.state[3]
    }

    const fn word(&mut self, word: u64) {
        self.state[3] ^= word;
        self.round();
        self.round();
        self.state[0] ^= word;
    }

    const fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.state;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.state = [a, b, c, d];
    }
}
