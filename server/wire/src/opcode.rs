//! The operations a client can ask for (`ZooDefs.OpCode`).

use crate::error_code::numbered;

numbered! {
    /// What a request asks for. Left out on purpose: notification (0) and error (-1), which no request carries, and
    /// createSession (-10) and deleteContainer (20), which are the server's own and refused from clients.
    pub enum OpCode (number, from_i32) {
        Create = 1,
        Delete = 2,
        Exists = 3,
        GetData = 4,
        SetData = 5,
        GetAcl = 6,
        SetAcl = 7,
        GetChildren = 8,
        Sync = 9,
        Ping = 11,
        GetChildren2 = 12,
        /// Inside a multi only; on its own it is answered like an unknown opcode.
        Check = 13,
        Multi = 14,
        Create2 = 15,
        Reconfig = 16,
        CheckWatches = 17,
        RemoveWatches = 18,
        CreateContainer = 19,
        CreateTtl = 21,
        MultiRead = 22,
        Auth = 100,
        SetWatches = 101,
        Sasl = 102,
        GetEphemerals = 103,
        GetAllChildrenNumber = 104,
        SetWatches2 = 105,
        AddWatch = 106,
        WhoAmI = 107,
        CloseSession = -11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back_and_the_server_s_own_are_refused() {
        for &op in OpCode::ALL {
            assert_eq!(OpCode::from_i32(op.number()), Some(op));
        }
        for refused in [0, -1, -10, 10, 20, 99, 108, i32::MIN, i32::MAX] {
            assert_eq!(OpCode::from_i32(refused), None);
        }
    }
}
