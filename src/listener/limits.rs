//! How many streams one address may hold, and how fast streams may be opened.
//!
//! What is kept of an address is a few bytes, and only as long as it holds a stream or opened one within the last
//! second: clients with many addresses cannot make it grow beyond the open streams and a fixed number of others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::proto::cause::Rejection;

/// Workers that open streams of different addresses at once seldom meet at the same lock.
const SHARDS: usize = 16;

/// Addresses whose pace one shard remembers at most: 65,536 in all, in 4 MiB.
const PACES: usize = 4096;

/// The unit in which the last second is remembered.
const SLOT: Duration = Duration::from_millis(125);

/// A second touches this many slots at most, the current one included.
const SLOTS: usize = 9;

/// A client as the limits see it: an IPv4 address, or the /64 within which a single host changes its IPv6 address at
/// will. IPv4 lies in 0000::/8, where no host is (RFC 4291 section 2.4), so that eight bytes do for both: every stream
/// keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client(u64);

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

/// What a listener's clients hold and how fast they came, over all workers.
#[derive(Debug)]
pub(super) struct Limiter {
    epoch: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    all: Mutex<Pace>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Streams by address; an address without any is not in it.
    held: HashMap<Client, u32>,
    /// Openings of the last second by address.
    paces: HashMap<Client, Pace>,
    /// The slot in which addresses without openings were last thrown out of `paces`.
    swept: u64,
}

impl Limiter {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            hasher: RandomState::new(),
            shards: Default::default(),
            all: Mutex::default(),
        }
    }

    /// Counts an opening, or says that it is one too many. Refused ones do not count: a client that keeps trying gets
    /// as much as one that waits.
    pub(super) fn admit(&self, client: Client, limits: &Limits) -> Result<(), Rejection> {
        let slot = self.slot(Instant::now());
        // First its own limit: what one address has too many must not use up what all have together.
        if let Some(limit) = limits.opens_per_second_per_ip
            && !self.shard(client).admit(client, slot, limit)
        {
            return Err(Rejection::RateLimited);
        }
        match limits.opens_per_second {
            Some(limit) if !locked(&self.all).take(slot, limit) => Err(Rejection::RateLimited),
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a stream of `client`; [`release`](Self::release) takes it back. Streams are counted without a limit too,
    /// so that one that a reload brings holds at once.
    pub(super) fn hold(&self, client: Client, limits: &Limits) -> Result<(), Rejection> {
        let mut shard = self.shard(client);
        let held = shard.held.entry(client).or_default();
        if limits
            .streams_per_ip
            .is_some_and(|limit| *held as usize >= limit)
        {
            if *held == 0 {
                shard.held.remove(&client);
            }
            return Err(Rejection::TooManyStreamsPerIp);
        }
        *held += 1;
        Ok(())
    }

    pub(super) fn release(&self, client: Client) {
        let held = &mut self.shard(client).held;
        match held.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => {
                held.remove(&client);
                give_back(held);
            }
        }
    }

    fn slot(&self, now: Instant) -> u64 {
        (now.duration_since(self.epoch).as_millis() / SLOT.as_millis()) as u64
    }

    /// The hash is keyed with random bytes: nobody can choose addresses that meet in one shard.
    fn shard(&self, client: Client) -> MutexGuard<'_, Shard> {
        locked(&self.shards[self.hasher.hash_one(client) as usize % SHARDS])
    }
}

impl Shard {
    fn admit(&mut self, client: Client, slot: u64, limit: u32) -> bool {
        self.sweep(slot);
        // More addresses than we remember: who has that many is not held back by a limit per address, and everybody
        // else should not be held back either.
        if self.paces.len() >= PACES && !self.paces.contains_key(&client) {
            return true;
        }
        self.paces.entry(client).or_default().take(slot, limit)
    }

    /// Forgets who has not opened anything for a second: once a second, and in every slot if there is no more room.
    fn sweep(&mut self, slot: u64) {
        let age = slot.saturating_sub(self.swept);
        if age >= SLOTS as u64 || (age > 0 && self.paces.len() >= PACES) {
            self.swept = slot;
            self.paces.retain(|_, pace| !pace.is_over(slot));
            give_back(&mut self.paces);
        }
    }
}

/// A map does not shrink by itself when its entries go.
fn give_back<V>(map: &mut HashMap<Client, V>) {
    if map.capacity() > 4 * map.len().max(64) {
        map.shrink_to(2 * map.len());
    }
}

/// Openings of the last second.
#[derive(Debug, Default)]
struct Pace {
    /// By slot number modulo their count.
    slots: [u32; SLOTS],
    newest: u64,
}

impl Pace {
    /// Counts one if there were fewer than `limit` within the last second. A second reaches into nine slots, and all
    /// nine are added up: no second sees more than `limit`, and who has used it up waits for up to 1.125 s.
    fn take(&mut self, slot: u64, limit: u32) -> bool {
        if self.is_over(slot) {
            self.slots = Default::default();
        } else {
            (self.newest + 1..=slot).for_each(|passed| self.slots[Self::place(passed)] = 0);
        }
        self.newest = self.newest.max(slot);
        if self.slots.iter().sum::<u32>() >= limit {
            return false;
        }
        self.slots[Self::place(slot)] += 1;
        true
    }

    fn is_over(&self, slot: u64) -> bool {
        self.newest + SLOTS as u64 <= slot
    }

    fn place(slot: u64) -> usize {
        slot as usize % SLOTS
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits() -> Limits {
        Limits {
            streams: 1000,
            streams_per_ip: None,
            opens_per_second: None,
            opens_per_second_per_ip: None,
            handshake_timeout: Duration::from_secs(10),
            request_head: 8192,
            message: None,
        }
    }

    fn client(address: &str) -> Client {
        Client::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn one_host_is_one_client() {
        assert_eq!(client("::ffff:192.0.2.1"), client("192.0.2.1"));
        assert_eq!(client("2001:db8:0:1::1"), client("2001:db8:0:1:ffff::2"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
    }

    #[test]
    fn streams_of_one_address_are_bounded_and_given_back() {
        let (limiter, limits) = (
            Limiter::new(),
            Limits {
                streams_per_ip: Some(2),
                ..limits()
            },
        );
        let (one, other) = (client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(limiter.hold(one, &limits), Ok(()));
        assert_eq!(limiter.hold(one, &limits), Ok(()));
        assert_eq!(
            limiter.hold(one, &limits),
            Err(Rejection::TooManyStreamsPerIp)
        );
        assert_eq!(limiter.hold(other, &limits), Ok(()));
        limiter.release(one);
        assert_eq!(limiter.hold(one, &limits), Ok(()));
        for client in [one, one, other] {
            limiter.release(client);
        }
        assert!(
            limiter
                .shards
                .iter()
                .all(|shard| locked(shard).held.is_empty())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_sees_more_openings_than_the_limit() {
        let (limiter, limits) = (
            Limiter::new(),
            Limits {
                opens_per_second: Some(10),
                ..limits()
            },
        );
        let mut admitted = Vec::new();
        for _ in 0..10_000 {
            if limiter.admit(client("192.0.2.1"), &limits).is_ok() {
                admitted.push(Instant::now());
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(admitted.len() >= 10 * 10_000 / 1125, "{}", admitted.len());
        for eleven in admitted.windows(11) {
            assert!(
                eleven[10] - eleven[0] > Duration::from_secs(1),
                "{eleven:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_used_up_a_second_may_open_again_after_it() {
        let limits = Limits {
            opens_per_second_per_ip: Some(3),
            ..limits()
        };
        let limiter = Limiter::new();
        let one = client("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(
                [1, 2, 3].map(|_| limiter.admit(one, &limits).is_ok()),
                [true; 3]
            );
            assert_eq!(limiter.admit(one, &limits), Err(Rejection::RateLimited));
            assert_eq!(
                limiter.admit(client("192.0.2.2"), &limits),
                Ok(()),
                "another is free"
            );
            tokio::time::advance(Duration::from_millis(1125)).await;
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(limiter.admit(one, &limits), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_address_has_too_many_does_not_use_up_what_all_have() {
        let limits = Limits {
            opens_per_second: Some(10),
            opens_per_second_per_ip: Some(2),
            ..limits()
        };
        let limiter = Limiter::new();
        let greedy = (0..100).filter(|_| limiter.admit(client("192.0.2.1"), &limits).is_ok());
        assert_eq!(greedy.count(), 2);
        let others = (2..250).filter(|n| {
            limiter
                .admit(client(&format!("192.0.2.{n}")), &limits)
                .is_ok()
        });
        assert_eq!(others.count(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_do_not_grow_it_without_bound() {
        let limits = Limits {
            opens_per_second_per_ip: Some(1),
            ..limits()
        };
        let limiter = Limiter::new();
        let address = Client;
        let known = || {
            limiter
                .shards
                .iter()
                .map(|shard| locked(shard).paces.len())
                .sum::<usize>()
        };
        for n in 0..200_000 {
            assert_eq!(limiter.admit(address(n), &limits), Ok(()));
        }
        assert!(known() <= SHARDS * PACES, "{}", known());
        tokio::time::advance(Duration::from_secs(2)).await;
        for n in 0..1_000 {
            assert_eq!(
                limiter.admit(address(n), &limits),
                Ok(()),
                "{n} is new again"
            );
            assert_eq!(
                limiter.admit(address(n), &limits),
                Err(Rejection::RateLimited)
            );
        }
        assert_eq!(known(), 1_000, "who was gone for a second is forgotten");
        let room = limiter
            .shards
            .iter()
            .map(|shard| locked(shard).paces.capacity())
            .sum::<usize>();
        assert!(room < 20_000, "{room} places are kept for 1,000 addresses");
    }
}
