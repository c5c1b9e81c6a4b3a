//! Small texts in the reference's shape: version, numbers with a point, dates, addresses.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

/// The release of ZooKeeper whose behaviour is followed. Clients choose features by it.
pub const EMULATED: &str = "3.9.3";

/// Seconds since 1970 shown as the build date, unless the build sets `SOURCE_DATE_EPOCH`: the date of this
/// release, 2026-11-21 12:00 UTC. A fixed date keeps builds reproducible.
const RELEASED: i64 = 1_795_262_400;

/// `3.9.3-ringkeeper-0.1.0, built on 2026-11-21 12:00 UTC`: the reference's shape, which clients take apart at
/// the first `-` and agents at the comma. No blanks before the comma.
pub fn version() -> String {
    let built = option_env!("SOURCE_DATE_EPOCH").and_then(|text| text.parse().ok()).unwrap_or(RELEASED);
    let Civil { year, month, day, hour, minute, .. } = Civil::from_unix(built);
    let ours = env!("CARGO_PKG_VERSION");
    format!("{EMULATED}-ringkeeper-{ours}, built on {year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// A number given in ten-thousandths, as Java prints a double of at most 4 decimals: `0.0`, `9.3333`, `12.5`.
/// Unlike Java never with an exponent, which some agents cannot read.
pub(super) struct Decimal(pub u64);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 10_000, self.0 % 10_000);
        let digits = format!("{part:04}");
        let digits = digits.trim_end_matches('0');
        write!(f, "{whole}.{}", if digits.is_empty() { "0" } else { digits })
    }
}

/// A client's address as Java prints it: `/127.0.0.1:34226`.
pub(super) struct Peer(pub SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.ip().to_canonical() {
            IpAddr::V4(ip) => write!(f, "/{ip}:{}", self.0.port()),
            IpAddr::V6(ip) => write!(f, "/[{ip}]:{}", self.0.port()),
        }
    }
}

/// A point in time as Java prints a `Date` on a host in UTC: `Sat Nov 21 18:33:53 UTC 2026`.
pub(super) struct Date {
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let Civil { days, year, month, day, hour, minute, second } =
            Civil::from_unix(self.wall_ms.div_euclid(1000));
        let weekday = DAYS[days.rem_euclid(7) as usize];
        let month = MONTHS[(month - 1) as usize];
        write!(f, "{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
    }
}

/// A date of the Gregorian calendar with a time of day, in UTC.
struct Civil {
    /// Days since 1970-01-01, a Thursday.
    days: i64,
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

impl Civil {
    fn from_unix(seconds: i64) -> Civil {
        let (days, time) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years are counted from 1 March, so that the leap day is the last of its year, and in cycles of 400
        // years (146097 days). 719468 days lie between 0000-03-01 and 1970-01-01.
        let since_march = days + 719_468;
        let (cycle, of_cycle) = (since_march.div_euclid(146_097), since_march.rem_euclid(146_097));
        let year = (of_cycle - of_cycle / 1_460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
        let of_year = of_cycle - (365 * year + year / 4 - year / 100);
        // From March on, the months have 31, 30, 31, 30, 31 days over and over: 153 in five of them.
        let from_march = (5 * of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            days,
            year: cycle * 400 + year + i64::from(month <= 2),
            month,
            day: of_year - (153 * from_march + 2) / 5 + 1,
            hour: time / 3_600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_has_the_shape_that_clients_take_apart() {
        let version = version();
        let (number, built) = version.split_once(", built on ").unwrap();
        assert_eq!(number, concat!("3.9.3-ringkeeper-", env!("CARGO_PKG_VERSION")));
        if option_env!("SOURCE_DATE_EPOCH").is_none() {
            assert_eq!(built, "2026-11-21 12:00 UTC");
        }
    }

    #[test]
    fn decimals_look_like_java_doubles() {
        for (e4, text) in [
            (0, "0.0"),
            (93_333, "9.3333"),
            (10_000, "1.0"),
            (12_500, "1.25"),
            (1, "0.0001"),
            (250_000_000_000, "25000000.0"),
        ] {
            assert_eq!(Decimal(e4).to_string(), text);
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (1_795_286_033, "Sat Nov 21 18:33:53 UTC 2026"),
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (951_782_400, "Tue Feb 29 00:00:00 UTC 2000"),
            (951_868_799, "Tue Feb 29 23:59:59 UTC 2000"),
            (4_107_542_400, "Mon Mar 01 00:00:00 UTC 2100"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
        ] {
            assert_eq!(Date { wall_ms: seconds * 1000 }.to_string(), text);
        }
        let extremes = [i64::MIN, i64::MAX].map(|wall_ms| Date { wall_ms }.to_string());
        assert!(extremes.iter().all(|text| text.contains("UTC")));
    }

    #[test]
    fn mapped_addresses_are_shown_as_ipv4() {
        let peer = |text: &str| Peer(text.parse().unwrap()).to_string();
        assert_eq!(peer("127.0.0.1:34226"), "/127.0.0.1:34226");
        assert_eq!(peer("[::ffff:10.0.0.7]:1"), "/10.0.0.7:1");
        assert_eq!(peer("[2001:db8::1]:2181"), "/[2001:db8::1]:2181");
    }
}
