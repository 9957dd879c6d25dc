//! What time it is, as far as a node can know.

use std::time::SystemTime;

use gabion_bundle::Time;

use crate::refused::Refused;

/// What the node's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The time that it shows.
    pub now: SystemTime,
    /// Whether somebody set it who knows: see [`synchronised`].
    pub trusted: bool,
}

/// What the site wants where the clock cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockPolicy {
    /// Nothing is accepted.
    Refuse,
    /// Bundles are accepted, with an alarm, up to this time, be it by that clock or by what was accepted before.
    AcceptUntil(Time),
    /// Bundles are accepted, with an alarm.
    AcceptWithAlarm,
}

/// Why a clock is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Doubt {
    /// Nobody set it.
    #[error("the clock shows {now}, and is not synchronised")]
    Unsynchronised { now: Time },
    /// It was later already.
    #[error("the clock shows {now}, and it was {latest} when this node last accepted something")]
    Behind { now: Time, latest: Time },
    /// It cannot be trusted, and the time until which that would do is over.
    #[error("the clock is not to be trusted, and it is {now}: without one, bundles are accepted until {until}")]
    Until { now: Time, until: Time },
}

/// The time by which everything is judged, and whether there is doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub at: Time,
    /// Why it may be wrong. It goes with an alarm.
    pub doubt: Option<Doubt>,
}

impl ClockPolicy {
    /// The time by which to judge, given that it was `latest` before. A clock that is behind that was set back.
    ///
    /// # Errors
    /// [`Refused::Clock`] where the site does not want to go on.
    pub fn moment(self, clock: Clock, latest: Time) -> Result<Moment, Refused> {
        let now = Time::from(clock.now);
        let doubt = if now < latest {
            Doubt::Behind { now, latest }
        } else if !clock.trusted {
            Doubt::Unsynchronised { now }
        } else {
            return Ok(Moment { at: now, doubt: None });
        };
        // It is not earlier than it was.
        let at = now.max(latest);
        match self {
            Self::Refuse => Err(Refused::Clock(doubt)),
            Self::AcceptUntil(until) if at > until => Err(Refused::Clock(Doubt::Until { now: at, until })),
            Self::AcceptUntil(_) | Self::AcceptWithAlarm => Ok(Moment { at, doubt: Some(doubt) }),
        }
    }
}

/// Whether the kernel holds its clock for synchronised: somebody (NTP, PTP, GNSS) steers it, and said so.
///
/// # Errors
/// What the kernel says; it is asked without any right.
#[allow(unsafe_code)]
pub fn synchronised() -> std::io::Result<bool> {
    // SAFETY: `timex` is numbers alone, for which zeroes are values.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes into the one record that it is given, which lives until the call returns. No mode is
    // set: it changes nothing.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    if answer < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn every_outcome_is_explicit() {
        let (early, late) = (time("2027-01-01T00:00:00Z"), time("2027-06-01T00:00:00Z"));
        let clock = |now: Time, trusted| Clock { now: now.moment(), trusted };
        let policies = [ClockPolicy::Refuse, ClockPolicy::AcceptUntil(early), ClockPolicy::AcceptWithAlarm];
        for policy in policies {
            assert_eq!(policy.moment(clock(late, true), early), Ok(Moment { at: late, doubt: None }));
        }
        let unset = Doubt::Unsynchronised { now: late };
        let behind = Doubt::Behind { now: early, latest: late };
        for (clock, latest, doubt) in [(clock(late, false), early, unset), (clock(early, true), late, behind)] {
            let taken = Ok(Moment { at: late, doubt: Some(doubt) });
            assert_eq!(ClockPolicy::Refuse.moment(clock, latest), Err(Refused::Clock(doubt)));
            assert_eq!(ClockPolicy::AcceptWithAlarm.moment(clock, latest), taken);
            assert_eq!(ClockPolicy::AcceptUntil(late).moment(clock, latest), taken);
            let over = Doubt::Until { now: late, until: early };
            assert_eq!(ClockPolicy::AcceptUntil(early).moment(clock, latest), Err(Refused::Clock(over)));
        }
        assert_eq!(clock(early, false).now, early.moment());
    }

    #[test]
    fn the_kernel_says_whether_its_clock_is_synchronised() {
        synchronised().unwrap();
    }
}
