package client_test

func beChild(string) int { return 0 }
