package providers

func newOpenAI(name string, c ProviderConfig, env func(string) string) (Provider, error) {
	return nil, nil
}
