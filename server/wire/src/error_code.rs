//! Error codes of ZooKeeper's replies (`KeeperException.Code`).

/// Declares an enum whose variants are numbers on the wire, with the way there and back.
macro_rules! numbered {
    ($(#[$meta:meta])* pub enum $name:ident ($to:ident, $from:ident) {
        $($(#[$variant_meta:meta])* $variant:ident = $number:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum $name { $($(#[$variant_meta])* $variant = $number,)* }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn $to(self) -> i32 {
                self as i32
            }

            /// The value for a number on the wire, if there is one.
            pub const fn $from(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use numbered;

numbered! {
    /// Why a request failed. 0 (OK) is no error and therefore no value of this type.
    pub enum ErrorCode (code, from_code) {
        SystemError = -1,
        /// In a failed multi: the operations behind the one that failed.
        RuntimeInconsistency = -2,
        DataInconsistency = -3,
        ConnectionLoss = -4,
        MarshallingError = -5,
        Unimplemented = -6,
        OperationTimeout = -7,
        BadArguments = -8,
        InvalidState = -9,
        UnknownSession = -12,
        NewConfigNoQuorum = -13,
        ReconfigInProgress = -14,
        ApiError = -100,
        NoNode = -101,
        NoAuth = -102,
        BadVersion = -103,
        NoChildrenForEphemerals = -108,
        NodeExists = -110,
        NotEmpty = -111,
        SessionExpired = -112,
        InvalidCallback = -113,
        InvalidAcl = -114,
        AuthFailed = -115,
        Closing = -116,
        Nothing = -117,
        /// Never sent: the server closes the connection that ran into it.
        SessionMoved = -118,
        NotReadOnly = -119,
        EphemeralOnLocalSession = -120,
        NoWatcher = -121,
        RequestTimeout = -122,
        ReconfigDisabled = -123,
        SessionClosedRequireSaslAuth = -124,
        QuotaExceeded = -125,
        ThrottledOp = -127,
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?} ({})", self.code())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_there_and_back() {
        assert_eq!(ErrorCode::ALL.len(), 34);
        for &error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(error));
        }
        assert_eq!(ErrorCode::NoNode.code(), -101);
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(-126), None);
    }

    #[test]
    fn shows_name_and_code() {
        assert_eq!(ErrorCode::NoNode.to_string(), "NoNode (-101)");
    }
}
