from training.classifier.train import main

main()
