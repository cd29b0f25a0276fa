//! The tokens by which the poller names what is watched.
//!
//! A poller watches open files, of which a descriptor is but a name. One that was closed while another process, or another
//! descriptor, holds the same file is still told of, and can't be taken out any more; its number may be another's by
//! then. So a token names the registration, too.

/// The lower half of a token is the descriptor, the upper one the registration.
const HALF: u32 = usize::BITS / 2;
const LOWER: usize = (1 << HALF) - 1;

/// Which registration each descriptor has.
#[derive(Default)]
pub struct Registrations {
    /// By descriptor; 0 for none.
    current: Vec<u32>,
    last: u32,
}

impl Registrations {
    /// A token for one more registration of the descriptor `index`.
    pub fn next(&mut self, index: usize) -> usize {
        // The highest token is the poller's own.
        self.last =
            if self.last == (u32::MAX >> (u32::BITS - HALF)) >> 1 { 1 } else { self.last + 1 };
        token(index, self.last)
    }

    /// The registration that `token` names is the descriptor's own from now on.
    pub fn set(&mut self, token: usize) {
        let (index, registration) = parts(token);
        if self.current.len() <= index {
            self.current.resize(index + 1, 0);
        }
        self.current[index] = registration;
    }

    /// The descriptor `index` has no registration any more.
    pub fn clear(&mut self, index: usize) {
        if let Some(current) = self.current.get_mut(index) {
            *current = 0;
        }
    }

    /// The token of the descriptor `index`.
    pub fn token(&self, index: usize) -> usize {
        token(index, self.current.get(index).copied().unwrap_or(0))
    }

    /// The descriptor that `token` names, unless its registration is not that one any more.
    #[inline]
    pub fn descriptor(&self, token: usize) -> Option<usize> {
        let (index, registration) = parts(token);
        (self.current.get(index) == Some(&registration)).then_some(index)
    }
}

fn token(index: usize, registration: u32) -> usize {
    (registration as usize) << HALF | index
}

#[inline]
fn parts(token: usize) -> (usize, u32) {
    (token & LOWER, (token >> HALF) as u32)
}
