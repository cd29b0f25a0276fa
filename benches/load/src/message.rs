//! What is sent, and the check of what comes back.

/// Letters at the start of a message that tell it from the one before.
const STAMP: usize = 8;

/// One connection's message. No two connections send the same, and no two messages of a connection
/// follow each other with the same start, so bytes that were kept, lost or sent to the wrong
/// connection are as visible as bytes that were changed.
pub struct Message {
    bytes: Vec<u8>,
    stamp: usize,
    number: u64,
}

impl Message {
    /// A message of `size` bytes for the connection numbered `connection`; it consists of
    /// lower-case letters, and ends in a newline if it is a `line`.
    pub fn new(connection: usize, size: usize, line: bool) -> Self {
        let mut state = (connection as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            b'a' + (state % 26) as u8
        })
        .take(size)
        .collect();
        let mut letters = size;
        if line {
            letters -= 1;
            bytes[letters] = b'\n';
        }
        Self { bytes, stamp: letters.min(STAMP), number: 0 }
    }

    /// Changes the start of the message, for the next time that it is sent.
    pub fn renew(&mut self) {
        self.number += 1;
        let mut rest = self.number;
        for letter in &mut self.bytes[..self.stamp] {
            *letter = b'a' + (rest % 26) as u8;
            rest /= 26;
        }
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `echoed` is what follows the first `received` bytes of the message: not a byte
    /// different, and not one too many.
    pub fn continues_with(&self, received: usize, echoed: &[u8]) -> bool {
        self.bytes[received..].starts_with(echoed)
    }
}

#[cfg(test)]
mod tests {
    use super::Message;

    #[test]
    fn a_changed_byte_is_seen_wherever_it_is() {
        let message = Message::new(0, 64, false);
        assert!(message.continues_with(0, message.bytes()));
        for position in 0..64 {
            let mut echoed = message.bytes().to_vec();
            echoed[position] ^= 1;
            assert!(!message.continues_with(0, &echoed), "byte {position}");
        }
    }

    #[test]
    fn the_rest_is_compared_from_where_the_first_part_ended() {
        let message = Message::new(0, 64, false);
        assert!(message.continues_with(40, &message.bytes()[40..]));
        assert!(!message.continues_with(40, &message.bytes()[39..63]));
    }

    #[test]
    fn a_byte_too_many_is_seen() {
        let message = Message::new(0, 8, false);
        let mut echoed = message.bytes().to_vec();
        echoed.push(b'a');
        assert!(!message.continues_with(0, &echoed));
    }

    #[test]
    fn the_message_before_is_not_taken_for_this_one() {
        let mut message = Message::new(0, 16, false);
        message.renew();
        let before = message.bytes().to_vec();
        message.renew();
        assert!(!message.continues_with(0, &before));
    }

    #[test]
    fn another_connections_message_is_not_taken_for_ours() {
        assert_ne!(Message::new(0, 16, false).bytes(), Message::new(1, 16, false).bytes());
    }

    #[test]
    fn a_line_has_its_newline_at_the_end_and_nowhere_else() {
        for size in [2, 5, 9, 1024] {
            let mut message = Message::new(3, size, true);
            for _ in 0..1000 {
                message.renew();
            }
            let newlines = message.bytes().iter().filter(|&&byte| byte == b'\n').count();
            assert_eq!((newlines, message.bytes().last()), (1, Some(&b'\n')), "size {size}");
        }
    }
}
