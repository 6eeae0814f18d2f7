package providers

func newOllama(name string, c ProviderConfig, env func(string) string) (Provider, error) {
	return nil, nil
}
