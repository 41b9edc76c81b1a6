//! Rule 11: what ran out is only told, once per silence, and how late the stream was heard again.

use std::time::Duration;

use super::limit::Limit;
use super::policy::IdleCounts;
use super::{Heart, Time, Verdict};
use crate::proto::cause::{End, Reason};

impl Heart {
    /// Takes `Verdict::Overdue` of `reason` back: what would have been heard in time had arrived and was not read yet.
    pub fn not_overdue(&mut self, reason: Reason) {
        for limit in Limit::ALL {
            if limit.reason() == reason {
                self.set_overdue(limit, Time::NEVER);
            }
        }
    }

    /// What there is to tell at `now`, when the limits run out at `dues`. What was told already becomes `Time::NEVER` there.
    pub(super) fn observe(
        &mut self,
        dues: &mut [Time; Limit::ALL.len()],
        counts: IdleCounts,
        now: Time,
    ) -> Option<Verdict> {
        for (limit, next) in Limit::ALL.into_iter().zip(dues) {
            let reason = limit.reason();
            if let Some(due) = self.overdue(limit) {
                if let Some(after) = self.heard_again(limit, due, counts) {
                    self.set_overdue(limit, Time::NEVER);
                    return Some(Verdict::HeardAgain { reason, after });
                }
                *next = Time::NEVER;
            } else if *next <= now && *next != Time::NEVER {
                self.set_overdue(limit, *next);
                return Some(Verdict::Overdue { reason });
            }
        }
        None
    }

    /// The instant at which `limit` ran out, if that was told and the silence still goes on as far as is known.
    pub(super) fn overdue(&self, limit: Limit) -> Option<Time> {
        let due = self.seldom.as_ref()?.overdue[limit as usize];
        (due != Time::NEVER).then_some(due)
    }

    /// From here `limit`, which ran out at `due`, counts as told; with `Time::NEVER` as not.
    pub(super) fn set_overdue(&mut self, limit: Limit, due: Time) {
        self.seldom_mut().overdue[limit as usize] = due;
    }

    /// How long after `due` the clock of `limit` was heard again, if it was.
    fn heard_again(&self, limit: Limit, due: Time, counts: IdleCounts) -> Option<Duration> {
        let heard = match limit {
            Limit::ClientIdle | Limit::UpstreamIdle | Limit::Quiet | Limit::HalfClose => {
                self.start(limit, counts)?
            }
            Limit::FirstMessage => self.seldom.as_ref()?.first_message,
            Limit::Age => return None,
            Limit::ClientStall => self.side(End::Client).taken,
            Limit::UpstreamStall => self.side(End::Upstream).taken,
        };
        let standing = self.stands_still(limit).unwrap_or(Time::NEVER);
        let (heard_then, due_then) = (heard.min(standing), due.min(standing));
        let again = heard != Time::NEVER && heard_then >= due_then;
        again.then(|| heard_then.saturating_since(due_then))
    }
}
