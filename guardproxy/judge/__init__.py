"""The second opinion: a larger model that is asked about the calls that the classifier is not sure of."""
