//! The examples do what they say, several of each at once, while members of the ensemble restart, instances are
//! killed, and others are stopped for so long that their sessions end.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use zke_e2e::local_ensemble::LocalEnsemble;
use zke_e2e::program::Program;

use crate::group::{Group, Mark, told};
use crate::programs::{Language, Programs};

/// Shorter sessions than the examples ask for, so that the test need not wait so long for their ends.
const SESSIONS: &str = "tickTime=2000\nmaxSessionTimeout=4000";

#[test]
#[ignore = "needs kazoo, Maven and a JDK: cargo xtask test"]
fn the_examples_keep_their_promises_while_members_restart() -> Result<()> {
    let programs = Programs::prepare()?;
    let mut ensemble = LocalEnsemble::start(&programs.zkd(), SESSIONS)?;
    let outcome = play(&programs, &mut ensemble);
    outcome.with_context(|| format!("the members' last words:\n{}", ensemble.last_words()))
}

fn play(programs: &Programs, ensemble: &mut LocalEnsemble) -> Result<()> {
    let begun = Instant::now();
    let done = |what: &str| println!("{:>5.1} s  {what}", begun.elapsed().as_secs_f32());
    let mut stage = Stage::open(programs, ensemble.hosts())?;
    stage.everything_goes_on("one")?;
    done("all run");
    for (member, value) in ["two", "three", "four"].into_iter().enumerate() {
        ensemble.restart(member)?;
        stage.everything_goes_on(value)?;
    }
    done("each member was restarted");
    let leader = ensemble.leader()?;
    ensemble.kill(leader)?;
    stage.everything_goes_on("five")?;
    ensemble.start_again(leader)?;
    done("the leading member was killed");
    stage.everything_stops_without(ensemble)?;
    stage.everything_goes_on("six")?;
    done("all members were killed");
    stage.instances_die()?;
    done("instances died");
    stage.instances_stand_still()?;
    done("instances stood still");
    stage.the_others_stand_still()?;
    stage.everything_goes_on("seven")?;
    done("the other instances stood still");
    stage.nobody_was_second()
}

/// All the groups. The ones of Rust and Java share a lock and an election: their nodes are Curator's.
struct Stage<'a> {
    programs: &'a Programs,
    hosts: String,
    members: Group,
    followers: Vec<(Language, Group)>,
    lock: Group,
    kazoo_lock: Group,
    leader: Group,
    kazoo_leader: Group,
    stored: usize,
}

impl<'a> Stage<'a> {
    fn open(programs: &'a Programs, hosts: String) -> Result<Self> {
        let mut stage = Self {
            programs,
            hosts,
            members: Group::new("membership")?,
            followers: Vec::new(),
            lock: Group::new("lock of Curator's kind")?,
            kazoo_lock: Group::new("lock of kazoo's kind")?,
            leader: Group::new("election of Curator's kind")?,
            kazoo_leader: Group::new("election of kazoo's kind")?,
            stored: 0,
        };
        for language in Language::ALL {
            let member = stage.command(language, "membership", language.name());
            stage.members.start(language.name(), &member)?;
            let mut follower = Group::new("configuration")?;
            let mut command = programs.example(language, "configuration");
            command.push(stage.hosts.clone());
            follower.start(language.name(), &command)?;
            stage.followers.push((language, follower));
        }
        for (language, name) in
            [(Language::Java, "java"), (Language::Rust, "rust-1"), (Language::Rust, "rust-2")]
        {
            let contender = stage.command(language, "lock", name);
            stage.lock.start(name, &contender)?;
            let candidate = stage.command(language, "leader", name);
            stage.leader.start(name, &candidate)?;
        }
        for name in ["python-1", "python-2", "python-3"] {
            let contender = stage.command(Language::Python, "lock", name);
            stage.kazoo_lock.start(name, &contender)?;
            let candidate = stage.command(Language::Python, "leader", name);
            stage.kazoo_leader.start(name, &candidate)?;
        }
        stage.all_see("java python rust", &["java", "python", "rust"])?;
        Ok(stage)
    }

    /// Each follower hears of a change of the configuration, each contender gets the lock, and somebody leads.
    fn everything_goes_on(&mut self, value: &str) -> Result<()> {
        let marks: Vec<_> = self.followers.iter().map(|(_, group)| group.mark()).collect();
        self.store(value)?;
        for ((_, follower), since) in self.followers.iter().zip(marks) {
            hears(follower, since, value)?;
        }
        for (group, names) in [
            (&self.lock, ["java", "rust-1", "rust-2"]),
            (&self.kazoo_lock, ["python-1", "python-2", "python-3"]),
        ] {
            let since = group.mark();
            for name in names {
                group.wait_line(since, &format!("{name} holds the lock"))?;
            }
        }
        for group in [&self.leader, &self.kazoo_leader] {
            self.leading(group)?;
        }
        Ok(())
    }

    /// Without an ensemble nobody leads, and whoever holds a lock lets go of it.
    fn everything_stops_without(&mut self, ensemble: &mut LocalEnsemble) -> Result<()> {
        (0..3).try_for_each(|member| ensemble.kill(member))?;
        for group in [&self.lock, &self.kazoo_lock, &self.leader, &self.kazoo_leader] {
            group.wait(Mark::default(), "all let go", |lines| Owner::after(lines).is_none().then_some(()))?;
        }
        (0..3).try_for_each(|member| ensemble.launch(member))?;
        (0..3).try_for_each(|member| ensemble.wait_serving(member))
    }

    /// Instances are killed. The others hear of it, and new ones take their places.
    fn instances_die(&mut self) -> Result<()> {
        self.members.kill("rust")?;
        for name in ["rust-1", "rust-2"] {
            self.leader.kill(name)?;
        }
        let first = self.leading(&self.kazoo_leader)?;
        self.kazoo_leader.kill(&first)?;
        let holders = [holding(&self.lock)?, holding(&self.kazoo_lock)?];
        self.lock.kill(&holders[0])?;
        self.kazoo_lock.kill(&holders[1])?;

        self.all_see("java python", &["java", "python"])?;
        ensure!(self.leading(&self.leader)? == "java", "only one of Java was left to lead");
        ensure!(self.leading(&self.kazoo_leader)? != first, "the dead do not lead");
        for (group, dead) in [(&self.lock, &holders[0]), (&self.kazoo_lock, &holders[1])] {
            ensure!(holding(group)? != *dead, "the dead hold no lock");
        }

        let member = self.command(Language::Rust, "membership", "rust");
        self.members.start("rust", &member)?;
        for name in ["rust-1", "rust-2"] {
            let candidate = self.command(Language::Rust, "leader", name);
            self.leader.start(name, &candidate)?;
        }
        let candidate = self.command(Language::Python, "leader", &first);
        self.kazoo_leader.start(&first, &candidate)?;
        let contender = self.command(language_of(&holders[0]), "lock", &holders[0]);
        self.lock.start(&holders[0], &contender)?;
        let contender = self.command(Language::Python, "lock", &holders[1]);
        self.kazoo_lock.start(&holders[1], &contender)?;
        self.all_see("java python rust", &["java", "python", "rust"])
    }

    /// Instances are stopped until their sessions have ended. Resumed, they notice and find their way back.
    fn instances_stand_still(&mut self) -> Result<()> {
        for name in ["java", "python"] {
            self.members.pause(name)?;
        }
        for (language, follower) in &mut self.followers {
            follower.pause(language.name())?;
        }
        self.leader.pause("java")?;
        let first = self.leading(&self.kazoo_leader)?;
        self.kazoo_leader.pause(&first)?;
        let holders = [holding(&self.lock)?, holding(&self.kazoo_lock)?];
        self.lock.pause(&holders[0])?;
        self.kazoo_lock.pause(&holders[1])?;
        self.store("while they stood still")?;

        self.all_see("rust", &["rust"])?;
        let successor = self.leading(&self.leader)?;
        ensure!(successor.starts_with("rust"), "{successor} leads, although it was stopped");
        ensure!(self.leading(&self.kazoo_leader)? != first, "{first} leads, although it was stopped");
        for (group, stopped) in [(&self.lock, &holders[0]), (&self.kazoo_lock, &holders[1])] {
            ensure!(holding(group)? != *stopped, "{stopped} holds the lock, although it was stopped");
        }

        let since = self.members.mark();
        let led = [self.leader.mark(), self.kazoo_leader.mark()];
        for name in ["java", "python"] {
            self.members.resume(name)?;
        }
        for (language, follower) in &mut self.followers {
            let since = follower.mark();
            follower.resume(language.name())?;
            hears(follower, since, "while they stood still")?;
        }
        self.leader.resume("java")?;
        self.kazoo_leader.resume(&first)?;
        self.lock.resume(&holders[0])?;
        self.kazoo_lock.resume(&holders[1])?;
        self.leader.wait_line(led[0], "java does not lead any more")?;
        self.kazoo_leader.wait_line(led[1], &format!("{first} does not lead any more"))?;
        for name in ["java", "python"] {
            self.members.wait_line(since, &format!("{name} is a member"))?;
        }
        self.all_see("java python rust", &["java", "python", "rust"])
    }

    /// The same with those of Rust, which took over before.
    fn the_others_stand_still(&mut self) -> Result<()> {
        self.members.pause("rust")?;
        let first = self.leading(&self.leader)?;
        for name in ["rust-1", "rust-2"] {
            self.leader.pause(name)?;
        }
        self.all_see("java python", &["java", "python"])?;
        ensure!(self.leading(&self.leader)? == "java", "only one of Java was left to lead");

        let since = self.members.mark();
        let led = self.leader.mark();
        self.members.resume("rust")?;
        for name in ["rust-1", "rust-2"] {
            self.leader.resume(name)?;
        }
        self.leader.wait_line(led, &format!("{first} does not lead any more"))?;
        self.members.wait_line(since, "rust is a member")?;
        self.all_see("java python rust", &["java", "python", "rust"])
    }

    /// What the order of all their lines shows.
    fn nobody_was_second(&self) -> Result<()> {
        for group in [&self.lock, &self.kazoo_lock, &self.leader, &self.kazoo_leader] {
            let lines = group.lines();
            let mut owner = Owner::default();
            for line in &lines {
                owner.hear(line).with_context(|| told(&lines))?;
            }
        }
        Ok(())
    }

    /// Whoever leads now; somebody will.
    fn leading(&self, group: &Group) -> Result<String> {
        group.wait(Mark::default(), "anybody leads", Owner::after)
    }

    /// Each of these saw these last.
    fn all_see(&self, who: &str, watchers: &[&str]) -> Result<()> {
        watchers.iter().try_for_each(|watcher| {
            let begin = format!("{watcher} sees ");
            self.members.wait(Mark::default(), &format!("{begin}{who}"), |lines| {
                let last = lines.iter().rev().find_map(|line| line.strip_prefix(&begin))?;
                (last == who).then_some(())
            })
        })
    }

    /// Stores a configuration, with one language after another.
    fn store(&mut self, value: &str) -> Result<()> {
        let language = Language::ALL[self.stored % Language::ALL.len()];
        self.stored += 1;
        let mut command = self.programs.example(language, "configuration").into_iter();
        let said = Program::new(command.next().context("a command has a program")?)
            .args(command)
            .args([self.hosts.as_str(), value])
            .output()?;
        ensure!(said.contains(&format!("stored {value}")), "{} said {said}", language.name());
        Ok(())
    }

    fn command(&self, language: Language, example: &str, name: &str) -> Vec<String> {
        let mut command = self.programs.example(language, example);
        command.extend([self.hosts.clone(), name.to_owned()]);
        command
    }
}

fn hears(follower: &Group, since: Mark, value: &str) -> Result<()> {
    let end = format!(" is {value}");
    follower.wait(since, &end, |lines| lines.iter().any(|line| line.ends_with(&end)).then_some(()))
}

/// Whoever takes the lock next.
fn holding(group: &Group) -> Result<String> {
    group.wait(group.mark(), "anybody holds the lock", |lines| {
        lines.iter().find_map(|line| line.strip_suffix(" holds the lock")).map(str::to_owned)
    })
}

fn language_of(name: &str) -> Language {
    if name.starts_with("java") { Language::Java } else { Language::Rust }
}

/// Who has what only one may have, as the lines go by.
#[derive(Default)]
struct Owner(Option<String>);

impl Owner {
    fn after(lines: &[String]) -> Option<String> {
        let mut owner = Self::default();
        for line in lines {
            // Whether nobody was second is another question.
            let _ = owner.hear(line);
        }
        owner.0
    }

    fn hear(&mut self, line: &str) -> Result<()> {
        let Some((name, what)) = line.split_once(' ') else { return Ok(()) };
        match what {
            "holds the lock" | "leads" => {
                let before = self.0.replace(name.to_owned());
                ensure!(
                    before.is_none(),
                    "both {} and {name} believed to be the only one",
                    before.unwrap_or_default()
                );
            }
            // One that is paused believes what it believes, and has to find out; until then only its session counts.
            "releases the lock" | "does not lead any more" | "is killed" | "is paused" => self.end(name),
            stops if stops.starts_with("stops") => self.end(name),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, name: &str) {
        if self.0.as_deref() == Some(name) {
            self.0 = None;
        }
    }
}
