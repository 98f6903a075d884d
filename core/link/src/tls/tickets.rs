//! Session tickets that a restarted parent still takes.
//!
//! After a parent was killed, all its children come back at once. With the usual tickets, whose keys are random and die with the
//! process, each would need signatures and checks of chains on both sides, which are most of what a handshake costs. Here the keys are
//! derived from the server's private key, which outlives the process, and from the time: a key makes tickets for six hours and
//! takes them for six more. Every handshake exchanges fresh keys all the same (tickets only stand for the certificates), so that
//! a stolen private key opens no earlier session. What a ticket says of a child is judged anew each time; see
//! [`peer_certificate`](crate::server::peer_certificate).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use rustls::server::ProducesTickets;

/// How long a key makes tickets.
const PERIOD: Duration = Duration::from_hours(6);
/// The number of the period, at the front of a ticket.
const PERIOD_BYTES: usize = 8;
/// Longest ticket: a chain of eight certificates of 1 KiB, twice over.
const TICKET_MAX: usize = 16 * 1024;

/// Makes and takes tickets.
pub(super) struct DurableTickets {
    secret: hmac::Key,
    now: fn() -> Duration,
}

impl std::fmt::Debug for DurableTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableTickets").finish_non_exhaustive()
    }
}

impl DurableTickets {
    /// From the server's private key as DER.
    pub(super) fn new(private_key: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, private_key);
        let secret = hmac::sign(&root, b"skerry session tickets");
        Self { secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), now: since_epoch }
    }

    fn period(&self) -> u64 {
        (self.now)().as_secs() / PERIOD.as_secs()
    }

    fn key(&self, period: u64) -> Option<LessSafeKey> {
        let bytes = hmac::sign(&self.secret, &period.to_be_bytes());
        UnboundKey::new(&CHACHA20_POLY1305, bytes.as_ref()).ok().map(LessSafeKey::new)
    }
}

impl ProducesTickets for DurableTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(PERIOD.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let period = self.period();
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut ticket = [period.to_be_bytes().as_slice(), &nonce, plain].concat();
        let body = &mut ticket[PERIOD_BYTES + NONCE_LEN..];
        let aad = Aad::from(period.to_be_bytes());
        let tag = self.key(period)?;
        let tag = tag.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, body).ok()?;
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_MAX {
            return None;
        }
        let (period, rest) = ticket.split_first_chunk::<PERIOD_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let made = u64::from_be_bytes(*period);
        if !(made == self.period() || made.checked_add(1) == Some(self.period())) {
            return None;
        }
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.key(made)?.open_in_place(nonce, Aad::from(*period), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(now: fn() -> Duration) -> DurableTickets {
        DurableTickets { now, ..DurableTickets::new(b"key") }
    }

    #[test]
    fn another_process_takes_a_ticket_while_it_lasts() {
        let ticket = at(|| Duration::from_secs(11 * HOUR)).encrypt(b"session").unwrap();
        let check = |tickets: DurableTickets, expect: Option<&[u8]>| {
            assert_eq!(tickets.decrypt(&ticket).as_deref(), expect);
        };
        check(at(|| Duration::from_secs(11 * HOUR)), Some(b"session"));
        check(at(|| Duration::from_secs(18 * HOUR - 1)), Some(b"session"));
        check(at(|| Duration::from_secs(18 * HOUR)), None);
        // A clock that was set back.
        check(at(|| Duration::from_secs(5 * HOUR)), None);
        let other = DurableTickets::new(b"another key");
        check(DurableTickets { now: || Duration::from_secs(11 * HOUR), ..other }, None);
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let tickets = at(|| Duration::from_secs(HOUR));
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_ne!(ticket, tickets.encrypt(b"session").unwrap(), "nonces differ");
        for place in 0..ticket.len() {
            let mut other = ticket.clone();
            other[place] ^= 1;
            assert_eq!(tickets.decrypt(&other), None, "byte {place}");
            assert_eq!(tickets.decrypt(&ticket[..place]), None, "cut at {place}");
        }
    }
}
