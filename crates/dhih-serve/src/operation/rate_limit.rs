//! Rate limits by client, which is a key or, without one, an address. Each client may send a burst of requests, and then a number of
//! requests per second (GCRA).

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

/// After this many requests in total, clients without recent requests are forgotten.
const FORGET_EVERY: u32 = 1024;

/// A client, whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// The holder of the key with this name.
    Key(Arc<str>),
    /// An address. Of an IPv6 address only the first 64 bits count, because a customer has at least such a network.
    Address(IpAddr),
}

impl Client {
    /// The client at an address. Requests without an address count as one client.
    pub(crate) fn at(address: Option<IpAddr>) -> Self {
        Self::Address(match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
            Some(address) => address,
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        })
    }
}

/// A rate limit for each client.
#[derive(Debug)]
pub(crate) struct RateLimit<C: Clock = DefaultClock> {
    limiter: RateLimiter<Client, DefaultKeyedStateStore<Client>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    asked: AtomicU32,
}

impl RateLimit {
    /// At most `per_second` requests per second, and `burst` at once.
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self::with_clock(per_second, burst, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(per_second: NonZeroU32, burst: NonZeroU32, clock: C) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        let limiter = RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone());
        Self { limiter, clock, asked: AtomicU32::new(0) }
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// When the request exceeds the limit. Contains the time until the client may send the next request.
    pub(crate) fn count(&self, client: &Client) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let counted = self.limiter.check_key(client);
        counted.map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limit(clock: &FakeRelativeClock) -> RateLimit<FakeRelativeClock> {
        let number = |n| NonZeroU32::new(n).unwrap();
        RateLimit::with_clock(number(2), number(4), clock.clone())
    }

    #[test]
    fn each_client_has_a_burst_and_then_so_many_a_second() {
        let clock = FakeRelativeClock::default();
        let limit = limit(&clock);
        let (key, address) = (Client::Key("shop".into()), Client::at("10.0.0.1".parse().ok()));
        for client in [&key, &address] {
            for _ in 0..4 {
                assert_eq!(limit.count(client), Ok(()));
            }
            assert_eq!(limit.count(client), Err(Duration::from_millis(500)));
        }
        clock.advance(Duration::from_millis(500));
        assert_eq!(limit.count(&key), Ok(()));
        assert!(limit.count(&key).is_err());
        clock.advance(Duration::from_secs(60));
        let passed = (0..9).filter(|_| limit.count(&key).is_ok()).count();
        assert_eq!(passed, 4, "what was not used is not saved up");
    }

    #[test]
    fn clients_that_went_away_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let limit = limit(&clock);
        for i in 0..FORGET_EVERY - 1 {
            assert_eq!(limit.count(&Client::Address(IpAddr::V4(i.into()))), Ok(()));
        }
        assert_eq!(limit.limiter.len(), FORGET_EVERY as usize - 1);
        clock.advance(Duration::from_secs(10));
        assert_eq!(limit.count(&Client::Key("shop".into())), Ok(()));
        assert_eq!(limit.limiter.len(), 1);
    }

    #[test]
    fn addresses_of_one_customer_are_one_client() {
        let at = |text: &str| Client::at(text.parse().ok());
        assert_eq!(at("2001:db8:1:2::1"), at("2001:db8:1:2:ffff::9"));
        assert_ne!(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
