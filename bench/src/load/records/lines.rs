//! Log lines in the manner of four well-known logs (HDFS, BlueGene/L, OpenSSH and Apache, as Loghub collects them).
//!
//! What repeats in such logs repeats here, and what varies varies about as much: times move on, few hosts and components recur,
//! ids and addresses mostly do not. So codecs reach about what they reach on the real thing.

use std::io::Write;

use super::random::Random;

/// Whose lines to imitate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Hdfs,
    Bgl,
    OpenSsh,
    Apache,
}

impl Shape {
    pub(super) const ALL: [Shape; 4] = [Shape::Hdfs, Shape::Bgl, Shape::OpenSsh, Shape::Apache];
}

/// A log that is being written: where its clock and its counters stand.
#[derive(Clone, Debug)]
pub(super) struct LogWriter {
    random: Random,
    /// Since the log's beginning.
    milliseconds: u64,
    ssh_process: u64,
}

/// Between two lines, at most.
const STEP_MS_MAX: u64 = 40;

impl LogWriter {
    pub(super) fn new(seed: u64) -> LogWriter {
        let mut random = Random::new(seed);
        let (milliseconds, ssh_process) = (random.below(80_000_000), 20_000 + random.below(9000));
        LogWriter { random, milliseconds, ssh_process }
    }

    /// Appends the next line, without an end of line.
    pub(super) fn push_line(&mut self, shape: Shape, line: &mut Vec<u8>) {
        self.milliseconds += self.random.below(STEP_MS_MAX);
        let written = match shape {
            Shape::Hdfs => self.hdfs(line),
            Shape::Bgl => self.bgl(line),
            Shape::OpenSsh => self.open_ssh(line),
            Shape::Apache => self.apache(line),
        };
        written.expect("a vector takes what is written to it");
    }

    fn hdfs(&mut self, line: &mut Vec<u8>) -> std::io::Result<()> {
        let (hour, minute, second) = self.time_of_day();
        let thread = 10 + self.random.below(4000);
        // Signed, as HDFS prints its block ids, and the same few for a while.
        let block = self.recurring(64).cast_signed();
        let (from, to) = (self.node_address(), self.node_address());
        write!(line, "081109 {hour:02}{minute:02}{second:02} {thread} INFO ")?;
        match self.random.below(10) {
            0..=2 => write!(
                line,
                "dfs.DataNode$DataXceiver: Receiving block blk_{block} src: /{from}:{} dest: /{to}:50010",
                40_000 + self.random.below(20_000)
            ),
            3..=5 => write!(
                line,
                "dfs.DataNode$PacketResponder: PacketResponder {} for block blk_{block} terminating",
                self.random.below(3)
            ),
            6 | 7 => {
                write!(line, "dfs.DataNode$PacketResponder: Received block blk_{block} of size 67108864 from /{from}")
            }
            8 => write!(
                line,
                "dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: {from}:50010 is added to blk_{block} size 67108864"
            ),
            _ => write!(line, "dfs.DataBlockScanner: Verification succeeded for blk_{block}"),
        }
    }

    fn bgl(&mut self, line: &mut Vec<u8>) -> std::io::Result<()> {
        const EVENTS: [&str; 6] = [
            "KERNEL INFO instruction cache parity error corrected",
            "KERNEL INFO CE sym 2, at 0x0b85eee0, mask 0x05",
            "KERNEL FATAL data TLB error interrupt",
            "KERNEL INFO generating core",
            "APP FATAL ciod: failed to read message prefix on control stream",
            "DISCOVERY INFO Node card VPD check: missing node",
        ];
        let (hour, minute, second) = self.time_of_day();
        let node = self.recurring(256);
        let location = format!(
            "R{:02}-M{}-N{:X}-C:J{:02}-U{:02}",
            node % 64,
            node >> 6 & 1,
            node >> 7 & 15,
            node >> 11 & 15,
            1 + (node >> 15 & 10)
        );
        let seconds = 1_117_838_570 + self.milliseconds / 1000;
        let micros = self.random.below(1_000_000);
        let event = *self.random.pick(&EVENTS);
        write!(
            line,
            "- {seconds} 2005.06.03 {location} 2005-06-03-{hour:02}.{minute:02}.{second:02}.{micros:06} {location} RAS {event} {}",
            self.random.below(5000)
        )
    }

    fn open_ssh(&mut self, line: &mut Vec<u8>) -> std::io::Result<()> {
        const USERS: [&str; 10] =
            ["root", "admin", "webmaster", "oracle", "test", "git", "postgres", "ubuntu", "pi", "support"];
        let (hour, minute, second) = self.time_of_day();
        let attacker = self.recurring(12);
        let address = format!(
            "{}.{}.{}.{}",
            100 + attacker % 100,
            attacker >> 8 & 255,
            attacker >> 16 & 255,
            attacker >> 24 & 255
        );
        let user = *self.random.pick(&USERS);
        let port = 30_000 + self.random.below(30_000);
        self.ssh_process += self.random.below(3);
        write!(line, "Dec 10 {hour:02}:{minute:02}:{second:02} LabSZ sshd[{}]: ", self.ssh_process)?;
        match self.random.below(6) {
            0 => write!(line, "Invalid user {user} from {address}"),
            1 => write!(
                line,
                "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={address}  user={user}"
            ),
            2 | 3 => write!(line, "Failed password for {user} from {address} port {port} ssh2"),
            4 => write!(line, "Received disconnect from {address}: 11: Bye Bye [preauth]"),
            _ => write!(line, "Accepted password for {user} from {address} port {port} ssh2"),
        }
    }

    fn apache(&mut self, line: &mut Vec<u8>) -> std::io::Result<()> {
        const PATHS: [&str; 8] = [
            "/",
            "/index.html",
            "/api/v1/orders",
            "/api/v1/orders/recent",
            "/static/css/site.css",
            "/static/js/app.js",
            "/login",
            "/health",
        ];
        const AGENTS: [&str; 3] = [
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
            "curl/8.5.0",
        ];
        const CODES: [u16; 8] = [200, 200, 200, 200, 204, 304, 404, 500];
        let (hour, minute, second) = self.time_of_day();
        let client = self.recurring(2000);
        let (path, code) = (*self.random.pick(&PATHS), *self.random.pick(&CODES));
        let method = *self.random.pick(&["GET", "GET", "GET", "POST"]);
        write!(
            line,
            "10.{}.{}.{} - - [20/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{method} {path}?id={} HTTP/1.1\" {code} {} \"-\" \"{}\" {:.3}",
            client & 3,
            client >> 8 & 255,
            client >> 16 & 255,
            self.random.below(1 << 20),
            self.random.below(50_000),
            AGENTS[usize::try_from(client % 3).unwrap_or(0)],
            f64::from(u16::try_from(self.random.below(4000)).unwrap_or(0)) / 1000.0,
        )
    }

    fn time_of_day(&self) -> (u64, u64, u64) {
        let seconds = self.milliseconds / 1000;
        (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
    }

    fn node_address(&mut self) -> String {
        let node = self.recurring(200);
        format!("10.{}.{}.{}", 250 + (node & 1), node >> 8 & 31, node >> 16 & 255)
    }

    /// One of `different` large numbers that are the same in every log.
    fn recurring(&mut self, different: u64) -> u64 {
        Random::new(different << 32 | self.random.below(different)).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(shape: Shape, seed: u64) -> Vec<String> {
        let mut writer = LogWriter::new(seed);
        let line = |_| {
            let mut line = Vec::new();
            writer.push_line(shape, &mut line);
            String::from_utf8(line).unwrap()
        };
        (0..200).map(line).collect()
    }

    #[test]
    fn a_seed_decides_every_line_and_no_line_holds_another() {
        for shape in Shape::ALL {
            let first = lines(shape, 7);
            assert_eq!(first, lines(shape, 7));
            assert_ne!(first, lines(shape, 8));
            assert!(first.iter().all(|line| line.len() > 20 && line.len() < 300 && !line.contains('\n')), "{first:?}");
        }
    }

    #[test]
    fn the_shapes_look_like_the_logs_they_imitate() {
        let with = |shape, part: &str| lines(shape, 1).iter().filter(|line| line.contains(part)).count();
        assert_eq!(with(Shape::OpenSsh, " LabSZ sshd["), 200);
        assert_eq!(with(Shape::Hdfs, " INFO dfs."), 200);
        assert_eq!(with(Shape::Bgl, " RAS "), 200);
        assert_eq!(with(Shape::Apache, " HTTP/1.1\" "), 200);
        assert!((30..170).contains(&with(Shape::OpenSsh, "Failed password for ")));
    }
}
