"""A vision-language model of 157 M parameters, joined from two pretrained halves that package indexes carry."""
