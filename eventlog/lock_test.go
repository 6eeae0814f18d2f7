package eventlog

func holdStoreIfAsked() bool { return false }
