//! A client or an app: acts by chance, answers or does not, ends well or badly or not at all.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use rand::RngExt;

use super::pipe::{Ending, NEVER, Pipe};
use super::plan::BEAT;
use super::script::{Author, Frame};
use super::trace::Ms;
use super::wire::{Kind, Wire};

/// What a peer is like from beginning to end.
#[derive(Debug, Clone)]
pub(super) struct Temper {
    /// Of its steps: how many say something.
    pub(super) talks: f64,
    pub(super) answers_pings: bool,
    /// Answers a Close, and ends when the other has.
    pub(super) polite: bool,
    /// Bytes it reads at each step; `usize::MAX`: all at once.
    pub(super) appetite: usize,
    /// Steps until it does something final.
    pub(super) steps: usize,
    /// Breaks the rules at some step.
    pub(super) breaks: bool,
    /// Its last step.
    pub(super) last: Last,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Last {
    Close,
    Fin,
    Reset,
    Vanish,
    /// It says no more, and stays.
    Silence,
}

pub(super) struct Peer {
    author: Author,
    temper: Temper,
    pub(super) pipe: Rc<RefCell<Pipe>>,
    frames: VecDeque<Frame>,
    /// Until then nothing more is sent: a pause within a frame.
    holds: Ms,
    /// Until then nothing is read.
    deaf: Ms,
    next: Ms,
    ended: bool,
    heard: Vec<u8>,
    judged: usize,
    said: usize,
    /// From this byte on it breaks the rules.
    pub(super) bad_from: Option<usize>,
}

impl Peer {
    pub(super) fn new(author: Author, temper: Temper, pipe: Rc<RefCell<Pipe>>, now: Ms) -> Self {
        Self {
            author,
            temper,
            pipe,
            frames: VecDeque::new(),
            holds: 0,
            deaf: 0,
            next: now + 2,
            ended: false,
            heard: Vec::new(),
            judged: 0,
            said: 0,
            bad_from: None,
        }
    }

    /// When it does something by itself.
    pub(super) fn next(&self, now: Ms) -> Ms {
        let waits = [self.next, self.holds, self.deaf];
        let later = waits.into_iter().filter(|at| *at > now);
        later.min().unwrap_or(NEVER)
    }

    /// What the proxy read of it before the stream began.
    pub(super) fn ahead(&mut self) -> Vec<u8> {
        let frames = self.author.message();
        let bytes: Vec<u8> = frames.into_iter().flat_map(|frame| frame.bytes).collect();
        self.said += bytes.len();
        self.pipe.borrow_mut().read_ahead(&bytes);
        bytes
    }

    /// Everything that is due at `now`.
    pub(super) fn turn(&mut self, now: Ms) {
        let steps = self.next <= now;
        if steps {
            self.step(now);
        }
        if steps || self.temper.appetite == usize::MAX {
            self.read(now);
        }
        self.write(now);
    }

    fn step(&mut self, now: Ms) {
        let pause = self.author.pause();
        self.next = (now + 2 + pause).next_multiple_of(2);
        if self.ended {
            self.next = NEVER;
            return;
        }
        if self.temper.steps == 0 {
            return self.finish(now);
        }
        self.temper.steps -= 1;
        let random = &mut self.author.random;
        if !random.random_bool(self.temper.talks) {
            if random.random_bool(0.1) {
                self.deaf = (now + self.author.pause()).next_multiple_of(2);
            }
            return;
        }
        if self.frames.len() > 20 {
            return;
        }
        match random.random_range(0..10) {
            0 if self.author.wire == Wire::WebSocket => {
                let control = self.author.control();
                self.frames.push_back(control);
            }
            1 => self.frames.extend(self.author.reply()),
            2 if self.temper.breaks => self.frames.extend(self.author.malformed()),
            3 => {
                for _ in 0..self.author.random.random_range(2..6) {
                    self.frames.extend(self.author.message());
                }
            }
            _ => self.frames.extend(self.author.message()),
        }
    }

    fn finish(&mut self, now: Ms) {
        self.next = NEVER;
        if self.author.random.random() {
            self.temper.appetite = usize::MAX;
        }
        match self.temper.last {
            Last::Close if self.author.wire == Wire::WebSocket => self.close(),
            Last::Close | Last::Fin => self.end(Ending::Fin),
            Last::Reset => self.end(Ending::Reset),
            Last::Vanish => self.pipe.borrow_mut().go_dark(NEVER),
            Last::Silence => {}
        }
        if self.author.random.random_bool(0.2) {
            self.deaf = (now + self.author.pause()).next_multiple_of(2);
        }
    }

    /// A Close of its own or an answer, behind the frame under way.
    fn close(&mut self) {
        if self.ended || self.frames.iter().any(|frame| frame.last) {
            return;
        }
        self.frames.retain(|frame| frame.at > 0);
        let close = self.author.close();
        self.frames.push_back(close);
    }

    pub(super) fn give_up(&mut self) {
        self.end(Ending::Reset);
    }

    fn end(&mut self, ending: Ending) {
        if !self.ended {
            self.ended = true;
            self.frames.clear();
            self.pipe.borrow_mut().finish(ending);
        }
    }

    fn read(&mut self, now: Ms) {
        if now < self.deaf {
            return;
        }
        let news = self.pipe.borrow_mut().take(self.temper.appetite);
        self.heard.extend(news);
        if self.author.wire == Wire::WebSocket {
            for unit in self.author.wire.units(&self.heard, self.judged) {
                self.judged = unit.end;
                match unit.kind {
                    Kind::Ping if self.temper.answers_pings && !self.ended => {
                        let pong = self.author.pong(&unit.payload);
                        self.put_between(pong);
                    }
                    Kind::Close if self.temper.polite => self.close(),
                    Kind::Data { .. } if self.is_asked(&unit.payload) => self.answer_beat(),
                    _ => {}
                }
            }
        } else {
            for unit in self.author.wire.units(&self.heard, self.judged) {
                self.judged = unit.end;
                if self.is_asked(&unit.payload) {
                    self.answer_beat();
                }
            }
        }
        let said = self.pipe.borrow().said();
        match said {
            Some(Ending::Fin) if self.temper.polite && self.frames.is_empty() => {
                self.end(Ending::Fin);
            }
            Some(Ending::Reset) => self.end(Ending::Reset),
            Some(Ending::Fin) | None => {}
        }
    }

    fn is_asked(&self, payload: &[u8]) -> bool {
        self.temper.answers_pings && payload.windows(BEAT.len()).any(|part| part == BEAT)
    }

    fn answer_beat(&mut self) {
        if self.frames.is_empty() && !self.ended {
            self.frames.extend(self.author.reply());
        }
    }

    /// Behind the frame under way: control frames may stand inside of messages.
    fn put_between(&mut self, frame: Frame) {
        let begun = self.frames.front().is_some_and(|first| first.at > 0);
        let last = self.frames.front().is_some_and(|first| first.last);
        if !(begun && last) {
            self.frames.insert(usize::from(begun), frame);
        }
    }

    fn write(&mut self, now: Ms) {
        while self.holds <= now {
            let Some(frame) = self.frames.front_mut() else {
                return;
            };
            if frame.bad {
                self.bad_from.get_or_insert(self.said - frame.at);
            }
            let to = frame.pause.map_or(frame.bytes.len(), |(place, _)| place);
            let count = self.pipe.borrow_mut().push(&frame.bytes[frame.at..to]);
            frame.at += count;
            self.said += count;
            if frame.at < to {
                return;
            }
            if let Some((_, pause)) = frame.pause.take() {
                self.holds = (now + pause).next_multiple_of(2).max(now + 2);
                return;
            }
            if frame.last && !self.temper.polite {
                // It does not wait for an answer.
                return self.end(Ending::Fin);
            }
            let last = frame.last;
            self.frames.pop_front();
            if last {
                self.frames.clear();
                self.temper.talks = 0.0;
            }
        }
    }
}
